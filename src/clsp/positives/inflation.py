"""Candidates as images of their own: data inflation, the other use of the same generator.

AdaInf (Wang et al., "Do Generated Data Always Help Contrastive Learning?", arXiv 2403.12448) adds generated images to
the training set, repeats the real ones so that they are a third of what is seen, and augments less.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clsp.images.config import AugmentConfig
from clsp.positives.bank import PositiveBank

_CROP, _JITTER = 0.2, 0.4
"""AdaInf's smallest crop and its probability of a change of colours."""


def inflated(images: np.ndarray, ids: np.ndarray, bank: PositiveBank) -> tuple[np.ndarray, np.ndarray]:
    """Return real images and candidates together, two candidates for each real image.

    Args:
        images: all train images, uint8 [M, C, H, W], by dataset index.
        ids: dataset indices of the anchors, int64 [N].
        bank: their candidates.

    Returns:
        Pixels uint8 [P, C, H, W] and their ids int64 [P]: a real image keeps its dataset index at every repetition,
        candidates are numbered on from M.
    """
    rows = bank.rows(ids)
    candidates = np.concatenate([bank.array(part) for part in np.array_split(rows, max(len(rows) // 1024, 1))])
    k = bank.candidates
    copies = max(round(k / 2), 1)
    numbers = len(images) + rows[:, None] * k + np.arange(k)
    pixels = np.concatenate((np.tile(images[ids], (copies, 1, 1, 1)), candidates.reshape(-1, *images.shape[1:])))
    return pixels, np.concatenate((np.tile(ids, copies), numbers.ravel()))


def weaker(config: AugmentConfig) -> AugmentConfig:
    """Return AdaInf's weaker augmentation: crops of at least a fifth of the image, half as often other colours."""
    low, high = config.crop_scale
    return replace(config, crop_scale=[max(low, _CROP), high], jitter=min(config.jitter, _JITTER))
