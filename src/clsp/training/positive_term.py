"""What the positive does: a term, lambda times the paper's alignment or NT-Xent; or it is the second view."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import distributed, randomness
from clsp.objectives.alignment import alignment
from clsp.objectives.contrastive import nt_xent
from clsp.objectives.precision import full_precision
from clsp.positives.sources import Positive
from clsp.training.config import PretrainConfig


def positive_term(
    pull: tuple[Tensor, Tensor],
    config: PretrainConfig,
    done: float,
    *,
    weights: Tensor | None = None,
    mates: Tensor | None = None,
    ignore: Tensor | None = None,
) -> Tensor:
    """What the additional positive adds to the method's terms.

    Args:
        pull: embeddings of anchors and positives, as the method pairs them; float [B, D], not necessarily normalised.
        config: objective, lambda, its schedule, and what is left out.
        done: share of the training that is done, in [0, 1].
        weights: how strongly each pair counts, float [B]; None: fully.
        mates: of mixtures, the row of the other anchor that is pulled, too, with the weight 1 - ``weights``; int64 [B].
        ignore: bool [B, G], True where anchor j of the global batch is no negative of anchor i.

    Returns:
        A scalar.
    """
    anchors, positives = pull
    term = _pulled(anchors, positives, config, weights, ignore)
    if mates is not None and weights is not None:
        term = term + _pulled(anchors[mates], positives, config, 1.0 - weights, ignore)
    return positive_weight(config, done) * term


def _pulled(
    anchors: Tensor, positives: Tensor, config: PretrainConfig, weights: Tensor | None, ignore: Tensor | None
) -> Tensor:
    """The objective, without lambda."""
    if config.positive_trim:
        kept = closest_pairs(anchors, positives, 1.0 - config.positive_trim)
        weights = kept if weights is None else weights * kept
    if config.positive_objective == "nt_xent":
        return nt_xent(anchors, positives, config.positive_temperature, weights=weights, ignore=ignore)
    return alignment(anchors, positives, weights=weights)


def no_negatives(ids: Tensor, shown: Tensor) -> Tensor:
    """Mark the images that are no negatives of each other as one is the other's positive in this step.

    Args:
        ids: dataset indices of this process's anchors, int64 [B].
        shown: those of the images that are their positives, int64 [B].

    Returns:
        bool [B, G] over the anchors of all processes.
    """
    everyone, everyones = distributed.gather_detached(ids), distributed.gather_detached(shown)
    return (shown[:, None] == everyone) | (ids[:, None] == everyones)


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


def in_place(positive: Positive, anchors: Tensor, ids: Tensor, share: float, *, seed: int, step: int) -> Positive:
    """Choose whose second view is made of the positive; the others' is made of the anchor itself.

    Args:
        positive: a positive of each anchor; the weight of one is a factor of its chance.
        anchors: the anchors' images, uint8 [B, C, H, W].
        ids: their dataset indices, int64 [B].
        share: of the anchors, see `share_in_place`.
        seed: names the choice.
        step: the training step, which names it too.
    """
    chance = share if positive.weights is None else share * positive.weights
    chosen = randomness.uniform(seed, "in place", (step, ids), 1)[:, 0] < chance
    return Positive(
        torch.where(chosen.view(-1, 1, 1, 1), positive.images, anchors),
        ids=None if positive.ids is None else torch.where(chosen, positive.ids, ids),
    )


def positive_weight(config: PretrainConfig, done: float) -> float:
    """Return lambda at the share ``done`` of the training."""
    shape = 0.5 * (1.0 + math.cos(math.pi * done)) if config.positive_schedule == "cosine" else 1.0
    return config.positive_weight * shape
