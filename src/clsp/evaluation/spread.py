"""How far embeddings spread over the sphere, and over how many directions."""

from __future__ import annotations

import torch
from torch import Tensor

COLLAPSED, FEW_DIRECTIONS = 0.1, 3.0
"""Below this deviation all images have nearly one embedding; below this effective rank it is a line or a plane."""
UNSURE = 0.5
"""Fraction of changed views that find their own image, below which they seldom do."""


def deviation(unit: Tensor) -> float:
    """Return the standard deviation of the coordinates of unit embeddings float [N, D], times sqrt(D).

    1 when they fill the sphere evenly, 0 when all are equal.
    """
    return float(unit.std(dim=0).mean() * unit.shape[1] ** 0.5)


def effective_rank(unit: Tensor) -> float:
    """Return how many directions unit embeddings float [N, D] use: exp of the entropy of their singular values.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007; the embeddings are centred before.
    """
    values = torch.linalg.svdvals(unit - unit.mean(dim=0))
    parts = values / values.sum().clamp_min(1e-12)
    entropy = -(parts * parts.clamp_min(1e-12).log()).sum()
    return float(entropy.exp())


def uniformity(unit: Tensor) -> float:
    """Return log of the mean of exp(-2 |z_i - z_j|^2) over pairs of unit embeddings float [N, D].

    Wang and Isola, "Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere", ICML 2020 (arXiv 2005.10242).
    """
    if len(unit) < 2:
        return 0.0
    return float((-2.0 * torch.pdist(unit).square()).exp().mean().log())
