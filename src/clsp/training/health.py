"""Measurements that tell a healthy embedding from a collapsed one, for every method."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp.evaluation.spread import COLLAPSED, FEW_DIRECTIONS, deviation, effective_rank


@dataclass(frozen=True)
class Health:
    """The state of a batch of embeddings."""

    alignment: float
    """Mean of 2 - 2 cos between the two views of an image: 0 when views agree."""
    feature_std: float
    """Standard deviation over the batch of the unit embeddings' coordinates, times sqrt(D): 1 when they fill the
    sphere evenly, 0 when all are equal."""
    effective_rank: float
    """exp of the entropy of the normalised singular values (Roy and Vetterli, 2007): directions that are in use."""
    center_norm: float
    """Length of the mean unit embedding: 1 when all are equal."""

    def metrics(self) -> dict[str, float]:
        """The values by name, for the log."""
        return dict(vars(self))


@torch.no_grad()
def health(first: Tensor, second: Tensor) -> Health:
    """Measure embeddings float [B, D] of the two views of a batch; all is NaN where a value of theirs is not finite."""
    z1, z2 = F.normalize(first.float(), dim=1), F.normalize(second.float(), dim=1)
    if not bool(z1.isfinite().all() and z2.isfinite().all()):  # nothing is measured of these; the loss will tell
        return Health(*[math.nan] * 4)
    return Health(
        alignment=float((2.0 - 2.0 * (z1 * z2).sum(dim=1)).mean()),
        feature_std=deviation(z1),
        effective_rank=effective_rank(z1),
        center_norm=float(z1.mean(dim=0).norm()),
    )


def diagnose(state: Health) -> str | None:
    """Say in plain words that the embedding has collapsed, or return None when it has not."""
    if state.feature_std < COLLAPSED:
        return (
            f"all images get nearly the same embedding (feature std {state.feature_std:.3f}, 1 is healthy): this is "
            "collapse; try a lower learning rate, a longer warm-up, or a larger batch"
        )
    if state.effective_rank < FEW_DIRECTIONS:
        return (
            f"the embedding uses only {state.effective_rank:.1f} directions: dimensional collapse; try weaker "
            "augmentation, a lower --pretrain.positive.third.weight, or a lower temperature"
        )
    return None
