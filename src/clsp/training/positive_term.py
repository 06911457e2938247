"""The term of the additional positive: lambda times the paper's alignment, or times NT-Xent."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp.objectives.alignment import alignment
from clsp.objectives.contrastive import nt_xent
from clsp.objectives.precision import full_precision
from clsp.training.config import PretrainConfig


def positive_term(pull: tuple[Tensor, Tensor], config: PretrainConfig, done: float) -> Tensor:
    """What the additional positive adds to the method's terms.

    Args:
        pull: embeddings of anchors and positives, as the method pairs them; float [B, D], not necessarily normalised.
        config: objective, lambda, its schedule, and what is left out.
        done: share of the training that is done, in [0, 1].

    Returns:
        A scalar.
    """
    weights = closest_pairs(*pull, 1.0 - config.positive_trim) if config.positive_trim else None
    if config.positive_objective == "nt_xent":
        term = nt_xent(*pull, config.positive_temperature, weights=weights)
    else:
        term = alignment(*pull, weights=weights)
    return positive_weight(config, done) * term


@full_precision
def closest_pairs(anchors: Tensor, positives: Tensor, share: float) -> Tensor:
    """Weigh the pairs of a batch so that a weighted mean is the mean over the closest ones.

    Args:
        anchors: embeddings, float [B, D], not necessarily normalised.
        positives: float [B, D], in the same order.
        share: of the pairs, in (0, 1], those with the largest cosine (rounded up).

    Returns:
        float [B] without gradient: B / kept for the pairs kept, 0 for the rest.
    """
    cosines = F.cosine_similarity(anchors.detach(), positives.detach(), dim=1)
    kept = math.ceil(round(share * len(cosines), 6))
    return torch.zeros_like(cosines).index_fill(0, cosines.topk(kept).indices, len(cosines) / kept)


def positive_weight(config: PretrainConfig, done: float) -> float:
    """Return lambda at the share ``done`` of the training."""
    shape = 0.5 * (1.0 + math.cos(math.pi * done)) if config.positive_schedule == "cosine" else 1.0
    return config.positive_weight * shape
