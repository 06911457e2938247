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
    """Barlow Twins, Zbontar et al. (arXiv 2103.03230), equations 1 and 2.

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
    return on + redundancy_weight * _off_diagonal(correlation)


@full_precision
def invariance(z1: Tensor, z2: Tensor) -> Tensor:
    """VICReg's invariance term, Bardes et al. (arXiv 2105.04906), equation 5, as its code has it.

    Args:
        z1: embeddings of the first views, float [B, D], not normalised.
        z2: embeddings of the second views, float [B, D], in the same order.

    Returns:
        The mean of (z1 - z2)^2 over rows and columns, a scalar.
    """
    return F.mse_loss(z1, z2)


@full_precision
def variance(z1: Tensor, z2: Tensor) -> Tensor:
    """VICReg's variance term, the same paper, equations 1 and 2: every feature keeps a deviation of 1 or more.

    Args:
        z1: embeddings of the first views, float [B, D], not normalised.
        z2: embeddings of the second views, likewise.

    Returns:
        Half of the sum over both views of mean_j max(0, 1 - sqrt(Var(z_j) + 1e-4)), a scalar; the variance over the
        global batch, unbiased.
    """
    deviations = [torch.sqrt(distributed.gather(z).var(dim=0) + _VARIANCE_EPSILON) for z in (z1, z2)]
    return 0.5 * torch.stack([F.relu(1.0 - deviation).mean() for deviation in deviations]).sum()


@full_precision
def covariance(z1: Tensor, z2: Tensor) -> Tensor:
    """VICReg's covariance term, the same paper, equations 3 and 4: features do not vary together.

    Args:
        z1: embeddings of the first views, float [B, D], not normalised.
        z2: embeddings of the second views, likewise.

    Returns:
        The sum over both views of sum_{i != j} Cov(z)_ij^2 / D, a scalar; the covariance over the global batch,
        unbiased.
    """
    return torch.stack([_off_diagonal(distributed.gather(z).T.cov()) / z.shape[1] for z in (z1, z2)]).sum()


def _standardised(rows: Tensor) -> Tensor:
    return F.batch_norm(rows, None, None, training=True, eps=_EPSILON)


def _off_diagonal(square: Tensor) -> Tensor:
    """Sum of the squares beside the diagonal."""
    return square.square().sum() - torch.diagonal(square).square().sum()
