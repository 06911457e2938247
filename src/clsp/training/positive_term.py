"""What the positive does: a term, lambda times the paper's alignment or NT-Xent; or it is the second view."""

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


def share_in_place(config: PretrainConfig, done: float) -> float | None:
    """Return the share of a step's anchors whose second view is made of the positive; None: it is a third view.

    With the share lambda / (1 + lambda) the method's loss weighs the pairs of two views and those with a positive as
    L(view, view) + lambda * L(view, positive) does, up to the factor 1 + lambda and the company of the negatives.

    Args:
        config: objective, lambda and its schedule.
        done: share of the training that is done, in [0, 1].
    """
    if config.positive_objective != "host":
        return None
    weight = positive_weight(config, done)
    return weight / (1.0 + weight)


def positive_weight(config: PretrainConfig, done: float) -> float:
    """Return lambda at the share ``done`` of the training."""
    shape = 0.5 * (1.0 + math.cos(math.pi * done)) if config.positive_schedule == "cosine" else 1.0
    return config.positive_weight * shape
