"""The pictures of README and docs/concepts.md: what is drawn for the first image of each class of Fashion-MNIST.

    python docs/pictures.py

The diffusion model is the one of studies/generators/20-pixels. Nothing is chosen by hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clsp import SyntheticPositivePipeline
from clsp.images.config import ImagesConfig
from clsp.images.sheet import save_sheet
from clsp.images.sources import open_images

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "studies" / "generators" / "20-pixels" / "diffusion"
ASSETS = ROOT / "docs" / "assets"
CLASSES = 10
SEED = 0


def anchors_and_backgrounds() -> tuple[np.ndarray, np.ndarray]:
    """The first image of each class, and as many others to start from, uint8 [10, 1, 28, 28] each."""
    train = open_images("fashion-mnist", ImagesConfig()).train
    labels = np.asarray(train.labels)
    first = [int(np.flatnonzero(labels == label)[0]) for label in range(CLASSES)]
    others = np.random.default_rng(SEED).choice(len(labels), CLASSES, replace=False)
    return train.images[first], train.images[others]


def drawn(pipeline: SyntheticPositivePipeline, anchors: np.ndarray, starts: np.ndarray, w: float, count: int) -> Tensor:
    """Candidates as the recipe fashion-mnist draws them but for w, uint8 [10, count, 1, 28, 28]."""
    images, other = (torch.from_numpy(some).float() / 127.5 - 1 for some in (anchors, starts))
    each = torch.stack([other.roll(shift, dims=0) for shift in range(count)], dim=1)
    return pipeline(
        images, count, w, num_inference_steps=10, seed=SEED, strength=0.5, guidance_scale=2.0, starts=each
    ).images


def main() -> None:
    """Draw both."""
    anchors, starts = anchors_and_backgrounds()
    pipeline = SyntheticPositivePipeline.from_pretrained(MODEL, sampler="sde-dpmsolver++", clip_sample=True)
    candidates = drawn(pipeline, anchors, starts, 0.1, 3).numpy()
    rows = np.stack([anchors, *candidates.swapaxes(0, 1)])
    names = ["your image", "candidate 1", "candidate 2", "candidate 3"]
    save_sheet(ASSETS / "candidates.png", rows, scale=2, row_labels=names)
    weights = (0.0, 0.1, 0.3, 0.5, 1.0)
    mixed = [drawn(pipeline, anchors, starts, w, 1).numpy()[:, 0] for w in weights]
    names = ["anchor", "start", *(f"w = {w}" for w in weights)]
    save_sheet(ASSETS / "weights.png", np.stack([anchors, starts, *mixed]), scale=2, row_labels=names)


if __name__ == "__main__":
    main()
