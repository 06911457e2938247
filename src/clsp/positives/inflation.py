"""Candidates as images of their own: data inflation, the other use of the same generator.

AdaInf (Wang et al., "Do Generated Data Always Help Contrastive Learning?", arXiv 2403.12448) adds generated images to
the training set, repeats the real ones so that they are a third of what is seen, and augments less.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clsp import files
from clsp.images.config import AugmentConfig
from clsp.positives.bank import PositiveBank

_CROP, _JITTER = 0.2, 0.4
"""AdaInf's smallest crop and its probability of a change of colours."""


class Inflated(files.Lazy):
    """Some copies of the real images, then all candidates: read where they lie when they are asked for.

    As an array they would take twelve times the anchors' memory where a bank has eight candidates.

    Args:
        images: all train images, uint8 [M, C, H, W], by dataset index.
        ids: dataset indices of the anchors, int64 [N].
        bank: their candidates.
        rows: the anchors' rows in the bank, int64 [N].
        copies: how often each real image is there, and how often each candidate.
    """

    def __init__(
        self, images: files.Array, ids: np.ndarray, bank: PositiveBank, rows: np.ndarray, copies: tuple[int, int]
    ) -> None:
        count = len(ids) * (copies[0] + copies[1] * bank.candidates)
        super().__init__((count, *images.shape[1:]), images.dtype)
        self._images, self._ids, self._bank, self._rows = images, ids, bank, rows
        self._real = len(ids) * copies[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        places = np.arange(len(self))[rows] if isinstance(rows, slice) or rows.dtype == bool else rows
        pixels, real = np.empty((*places.shape, *self.shape[1:]), self.dtype), places < self._real
        pixels[real] = files.take(self._images, self._ids[places[real] % len(self._ids)])
        drawn = (places[~real] - self._real) % (len(self._ids) * self._bank.candidates)
        anchors, candidates = np.divmod(drawn, self._bank.candidates)
        pixels[~real] = self._bank.read(self._rows[anchors], candidates)
        return pixels


def inflated(images: files.Array, ids: np.ndarray, bank: PositiveBank) -> tuple[Inflated, np.ndarray]:
    """Return real images and candidates together, two candidates for each real image.

    Args:
        images: all train images, uint8 [M, C, H, W], by dataset index.
        ids: dataset indices of the anchors, int64 [N].
        bank: their candidates.

    Returns:
        Pixels uint8 [P, C, H, W] and their ids int64 [P]: real images have their dataset indices, candidates are
        numbered on from M, and repetitions on from there, for each is changed in another way.
    """
    rows, k = bank.rows(ids), bank.candidates
    copies = (k // 2, 1) if k % 2 == 0 else (k, 2)
    numbers = (len(images) + rows[:, None] * k + np.arange(k)).ravel()
    known = len(images) + len(bank.ids) * k
    repeated = (one + known * copy for one, times in zip((ids, numbers), copies) for copy in range(times))
    return Inflated(images, ids, bank, rows, copies), np.concatenate(list(repeated))


def weaker(config: AugmentConfig) -> AugmentConfig:
    """Return AdaInf's weaker augmentation: crops of at least a fifth of the image, half as often other colours."""
    low, high = config.crop_scale
    return replace(config, crop_scale=[max(low, _CROP), high], jitter=min(config.jitter, _JITTER))
