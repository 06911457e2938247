"""Which images candidates start from, where a strength below 1 leaves steps out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch

from clsp import randomness
from clsp.errors import UserError
from clsp.positives.config import SynthesizeConfig

Starts = Callable[[np.ndarray, int], np.ndarray]
"""Chooses the images that candidates start from: of the anchors' dataset indices, int64 [B], and the number k of
candidates it makes dataset indices of train images, int64 [B, k]. The choice depends on an anchor's own index alone."""


def named(starts: Starts | None, anchors: np.ndarray, config: SynthesizeConfig) -> dict[str, str]:
    """A fingerprint of what the caller chose to start from: another choice is another bank.

    Raises:
        UserError: nothing starts from an image.
    """
    if starts is None:
        return {}
    if config.strength == 1.0:
        raise UserError("with --synthesize.strength 1 candidates start from noise, from no image; choose less than 1")
    chosen = starts(anchors, config.candidates)
    return {"starts": hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest()[:16]}


def other_anchors(anchors: np.ndarray, *, seed: int) -> Starts:
    """Choose another anchor for every candidate, uniformly.

    Args:
        anchors: dataset indices of all anchors, sorted, int64 [N], N >= 2.
        seed: names the choices.
    """

    def choose(ids: np.ndarray, candidates: int) -> np.ndarray:
        rows = torch.from_numpy(ids).repeat_interleave(candidates)
        numbers = torch.arange(candidates).repeat(len(ids))
        chosen = randomness.integers(seed, "start", (rows, numbers), len(anchors) - 1)[:, 0].numpy()
        chosen += chosen >= np.searchsorted(anchors, rows.numpy())  # any but itself
        return anchors[chosen].reshape(len(ids), candidates)

    return choose
