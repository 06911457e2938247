"""The pull between an anchor and its additional positive: CLSP's added term."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from clsp.objectives.base import Objective, weighted_mean
from clsp.objectives.precision import full_precision
from clsp.settings import settings


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
    return weighted_mean(2.0 - 2.0 * F.cosine_similarity(anchors, positives, dim=1), weights)


@full_precision
def negative_cosine(predictions: Tensor, targets: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """SimSiam's D(p, z) = -mean(cos(p, z)) (arXiv 2011.10566, equation 1); detach the targets yourself.

    Args:
        predictions: float [B, D].
        targets: float [B, D].
        weights: a weight for each pair, float [B] (1 = unweighted).

    Returns:
        A scalar in [-1, 1] (for weights of 1).
    """
    return -weighted_mean(F.cosine_similarity(predictions, targets, dim=1), weights)


@settings
class Alignment(Objective):
    """mean(2 - 2 cos): the paper's."""

    negatives: ClassVar[bool] = False

    def __call__(
        self, anchors: Tensor, positives: Tensor, *, weights: Tensor | None = None, ignore: Tensor | None = None
    ) -> Tensor:
        """Compute it; nothing repels, so that ``ignore`` plays no part."""
        return alignment(anchors, positives, weights=weights)
