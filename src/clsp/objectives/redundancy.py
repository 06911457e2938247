"""Redundancy reduction: two views agree, and no two features say the same. Barlow Twins and VICReg."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import distributed
from clsp.objectives.precision import full_precision

_EPSILON = 1e-5
"""Added to the variance, as BatchNorm does."""

_VARIANCE_EPSILON = 1e-4
"""Likewise, in VICReg's variance term."""


@full_precision
def barlow_twins(z1: Tensor, z2: Tensor, redundancy_weight: float) -> Tensor:
    """Barlow Twins, Zbontar et al. (arXiv 2103.03230), as its code has it.

    With columns standardised over the global batch (biased variance) and C = z1^T z2 / G, [D, D]:
    L = sum_i (C_ii - 1)^2 + redundancy_weight * sum_{i != j} C_ij^2.

    Args:
        z1: embeddings of the first views, float [B, D], not normalised.
        z2: embeddings of the second views, float [B, D], in the same order.
        redundancy_weight: the paper's lambda.

    Returns:
        A scalar.
    """
    a, b = _standardised(distributed.gather(z1)), _standardised(distributed.gather(z2))
    correlation = a.T @ b / len(a)
    on = (torch.diagonal(correlation) - 1.0).square().sum()
    return on + redundancy_weight * off_diagonal(correlation)


@full_precision
def vicreg(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """VICReg's three terms, Bardes et al. (arXiv 2105.04906), as its code has them.

    Invariance is the mean of (z1 - z2)^2 over rows and columns. Variance keeps every feature's deviation at 1 or more:
    mean_j max(0, 1 - sqrt(Var(z_j) + 1e-4)), the mean over both views. Covariance keeps features apart:
    sum_{i != j} Cov(z)_ij^2 / D, the sum over both views. Var and Cov are unbiased, over the global batch.

    Args:
        z1: embeddings of the first views, float [B, D], not normalised.
        z2: embeddings of the second views, float [B, D], in the same order.

    Returns:
        Invariance, variance and covariance, scalars.
    """
    gathered = [distributed.gather(z) for z in (z1, z2)]
    deviations = [torch.sqrt(z.var(dim=0) + _VARIANCE_EPSILON) for z in gathered]
    variance = torch.stack([F.relu(1.0 - deviation).mean() for deviation in deviations]).mean()
    covariance = torch.stack([off_diagonal(_covariance(z)) / z.shape[1] for z in gathered]).sum()
    return F.mse_loss(z1, z2), variance, covariance


def _covariance(rows: Tensor) -> Tensor:
    """Unbiased covariance [D, D] of rows [B, D]; torch's own asks the device for a number on its way."""
    centred = rows - rows.mean(dim=0)
    return centred.T @ centred / (len(rows) - 1)


def off_diagonal(square: Tensor) -> Tensor:
    """Sum of the squares beside the diagonal of a matrix [D, D]."""
    return square.square().sum() - torch.diagonal(square).square().sum()


def _standardised(rows: Tensor) -> Tensor:
    return F.batch_norm(rows, None, None, training=True, eps=_EPSILON)
