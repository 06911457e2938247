"""Measurements that tell a healthy embedding from a collapsed one, for every method."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp.evaluation.spread import COLLAPSED, FEW_DIRECTIONS, deviation, effective_rank, uniformity


@dataclass(frozen=True)
class Health:
    """The state of a batch of embeddings.

    The two views of an image are what the method sees: a positive in the second view's place is one of them.
    """

    alignment: float
    """Mean of 2 - 2 cos between the two views of an image: 0 when views agree."""
    feature_std: float
    """Standard deviation over the batch of the unit embeddings' coordinates, times sqrt(D): 1 when they fill the
    sphere evenly, 0 when all are equal."""
    effective_rank: float
    """exp of the entropy of the normalised singular values (Roy and Vetterli, 2007): directions that are in use."""
    uniformity: float
    """log of the mean of exp(-2 d^2) over the distances d of two images (Wang and Isola, 2020): about -4 when they fill
    the sphere evenly, 0 when all are equal."""
    center_norm: float
    """|s|, the length of the mean unit embedding over images and augmentations: 1 when all are equal. Estimated from
    pairs of different images, so that a batch of whatever size gives the same on average."""
    sample_norm: float
    """|c|, the (root mean squared) length of an image's mean unit embedding over augmentations."""
    residual_norm: float
    """|r|, that of its part beside the centre: |c|^2 = |s|^2 + |r|^2."""
    residual_ratio: float
    """|r|^2 / |c|^2: which part of what an image's views share is the image's own; 0 when all are equal."""

    def metrics(self) -> dict[str, float]:
        """The values by name, for the log."""
        return dict(vars(self))


@torch.no_grad()
def health(first: Tensor, second: Tensor) -> Health:
    """Measure embeddings float [B, D] of the two views of a batch; all is NaN where a value of theirs is not finite.

    Centre, sample and residual are those of the common stability mechanism (Jha et al., arXiv 2402.14957).
    """
    z1, z2 = F.normalize(first.float(), dim=1), F.normalize(second.float(), dim=1)
    if not bool(z1.isfinite().all() and z2.isfinite().all()):  # nothing is measured of these; the loss will tell
        return Health(*[math.nan] * len(fields(Health)))
    count, both = len(z1), z1 + z2
    cosine = float((z1 * z2).sum(dim=1).mean())
    pairs = float((both.sum(dim=0).square().sum() - both.square().sum()) / (4 * count * max(count - 1, 1)))
    sample, center = max(cosine, 0.0), min(max(pairs, 0.0), 1.0)
    residual = max(sample - center, 0.0)
    return Health(
        alignment=2.0 - 2.0 * cosine,
        feature_std=deviation(z1),
        effective_rank=effective_rank(z1),
        uniformity=uniformity(z1),
        center_norm=math.sqrt(center),
        sample_norm=math.sqrt(sample),
        residual_norm=math.sqrt(residual),
        residual_ratio=residual / sample if sample else 0.0,
    )


def diagnose(state: Health, most: int) -> str | None:
    """Say in plain words that the embedding has collapsed, or return None when it has not.

    Args:
        state: of a batch.
        most: directions that its embeddings could use at most: their width, or one less than there are.
    """
    if state.feature_std < COLLAPSED:
        return (
            f"all images get nearly the same embedding (feature std {state.feature_std:.3f}, 1 is healthy): this is "
            "collapse; try a lower learning rate, a longer warm-up, or a larger batch"
        )
    if state.effective_rank < min(FEW_DIRECTIONS, most / FEW_DIRECTIONS):
        return (
            f"the embedding uses only {state.effective_rank:.1f} directions: dimensional collapse; try weaker "
            "augmentation, a lower --pretrain.positive.third.weight, or a lower temperature"
        )
    return None
