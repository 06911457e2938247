"""Augmentation, one core against one core: our batched draws, and torchvision's transforms on one PIL image at a time.

Both do CLSP-SimCLR's augmentation for CIFAR on 32 x 32 colour images: random resized crop, flip, colour jitter, gray.
"""

from __future__ import annotations

import numpy as np
import torch
from harness import arguments, copy_rate, finish, interleave
from PIL import Image
from torchvision import transforms

from clsp.images.augment import augment
from clsp.images.config import AugmentConfig

BATCH, SIDE, SINGLE = 4096, 32, 512


def pil_pipeline(config: AugmentConfig) -> transforms.Compose:
    """Make the per-sample pipeline that the reference uses."""
    jitter = transforms.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE, scale=tuple(config.crop_scale), ratio=tuple(config.crop_ratio)),
            transforms.RandomHorizontalFlip(config.flip),
            transforms.RandomApply([jitter], p=config.jitter),
            transforms.RandomGrayscale(config.gray),
            transforms.ToTensor(),
        ]
    )


def main() -> None:
    options = arguments(__doc__)
    torch.set_num_threads(1)
    config = AugmentConfig()
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (BATCH, 3, SIDE, SIDE), dtype=np.uint8))
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels[:SINGLE]]
    pipeline, ids = pil_pipeline(config), torch.arange(BATCH)

    def ours() -> torch.Tensor:
        return augment(pixels, config, seed=0, step=0, ids=ids, views=torch.zeros_like(ids))

    def theirs() -> torch.Tensor:
        return torch.stack([pipeline(picture) for picture in pictures])

    rounds = interleave(theirs, ours, options.rounds)
    mine, other = ours(), theirs()
    floor = (pixels.numel() + 4 * mine.numel()) / copy_rate()
    result = rounds.result(
        "augmentation, images a second on one core",
        10.0,
        per=BATCH,
        their_per=SINGLE,
        floor=f"reading uint8 and writing float32 once takes {floor / BATCH * 1e6:.2g} us an image",
        quality={
            "mean and deviation of the pixels, ours": [round(float(mine.mean()), 3), round(float(mine.std()), 3)],
            "mean and deviation of the pixels, theirs": [round(float(other.mean()), 3), round(float(other.std()), 3)],
            "equal to torchvision on each operation": "tests/images/test_augment.py",
        },
    )
    finish([result], options.json)


if __name__ == "__main__":
    main()
