"""Views on a GPU: ours of a whole batch, as a fraction of a step and against torchvision's one image at a time.

torchvision's v2 transforms run on the device, too, but draw one set of parameters for a whole batch: with parameters of
its own for each image, as training needs them, they are called image by image.
"""

from __future__ import annotations

from functools import partial

import torch
from gpu_harness import options_of, seconds
from gpu_training import Bare, nets, pretraining
from harness import copy_rate, finish, interleave, spread
from torch import Tensor
from torchvision.transforms import v2

from clsp.images.augment import augment
from clsp.images.config import AugmentConfig
from clsp.training.config import PretrainConfig


def main() -> None:
    options, results = options_of(__doc__), []
    for net in nets(options.tiny)[:2]:
        config = AugmentConfig()
        shape = (net.batch, 3, net.size, net.size)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=options.device)
        ids = torch.arange(net.batch, device=options.device)
        few = pixels[: min(net.batch, 32)]
        view = v2.Compose(
            [
                v2.RandomResizedCrop(net.size, scale=tuple(config.crop_scale), antialias=False),
                v2.RandomHorizontalFlip(config.flip),
                v2.RandomApply(
                    [v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)], config.jitter
                ),
                v2.RandomGrayscale(config.gray),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

        def ours(pixels: Tensor = pixels, ids: Tensor = ids, config: AugmentConfig = config) -> Tensor:
            return augment(pixels, config, seed=0, step=0, ids=ids, views=torch.zeros_like(ids))

        def theirs(few: Tensor = few, view: v2.Compose = view) -> Tensor:
            return torch.stack([view(image) for image in few])

        rounds = interleave(partial(seconds, theirs), partial(seconds, ours), options.rounds)
        bare = Bare(pretraining(net, PretrainConfig(backbone=net.backbone, batch_size=net.batch, epochs=1)), options)
        step = seconds(bare)
        least = 5 * pixels.numel() / (2 * copy_rate(10_000_000 if options.tiny else 2_000_000_000, options.device))
        results += [
            rounds.result(
                f"{net.name}: views against torchvision, image by image", 20.0, per=net.batch, their_per=len(few)
            ),
            spread(
                f"{net.name}: a step over both views",
                20.0,
                [step / (2 * one) for one in rounds.ours],
                floor=f"reading uint8 and writing float once: {1e3 * least:.3g} ms a view",
            ),
        ]
    finish(results, options.json, "augmentation")


if __name__ == "__main__":
    main()
