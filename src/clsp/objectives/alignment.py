"""The pull between an anchor and its additional positive: CLSP's added term."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from clsp.objectives.precision import full_precision


@full_precision
def alignment(anchors: Tensor, positives: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean squared distance of unit vectors: mean(2 - 2 cos(z1, z3)) (CLSP, arXiv 2408.16965).

    There is no stop-gradient: both sides move, as in the paper's code.

    Args:
        anchors: float [B, D], not necessarily normalised.
        positives: float [B, D], in the same order.
        weights: a weight for each pair, float [B] (1 = unweighted).

    Returns:
        A scalar in [0, 4] (for weights of 1).
    """
    distances = 2.0 - 2.0 * F.cosine_similarity(anchors, positives, dim=1)
    if weights is not None:
        distances = distances * weights
    return distances.mean()


@full_precision
def negative_cosine(predictions: Tensor, targets: Tensor) -> Tensor:
    """SimSiam's D(p, z) = -mean(cos(p, z)) (arXiv 2011.10566, equation 1); detach the targets yourself.

    Args:
        predictions: float [B, D].
        targets: float [B, D].

    Returns:
        A scalar in [-1, 1].
    """
    return -F.cosine_similarity(predictions, targets, dim=1).mean()
