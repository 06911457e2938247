"""Alignment with a penalty on the centre: what Jha et al. find behind most self-supervised methods."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from clsp import distributed
from clsp.objectives.precision import full_precision


@full_precision
def simple(z1: Tensor, z2: Tensor, center_weight: float) -> Tensor:
    """L_simple of the common stability mechanism (arXiv 2402.14957).

    L = 1/2 [-mean(cos(z1, z2)) + center_weight * |s|^2], where s is the mean of the unit embeddings of both views over
    the global batch, the paper's centre vector. The paper prints s where its size must be meant; the square is our
    choice. With ``center_weight`` 0 one embedding for all images is the best one.

    Args:
        z1: embeddings of the first views, float [B, D], not necessarily normalised.
        z2: embeddings of the second views, float [B, D], in the same order.
        center_weight: the paper's lambda.

    Returns:
        A scalar, at least -1/2.
    """
    first, second = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    center = 0.5 * (distributed.gather(first).mean(dim=0) + distributed.gather(second).mean(dim=0))
    return 0.5 * (center_weight * center.square().sum() - (first * second).sum(dim=1).mean())
