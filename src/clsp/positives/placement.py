"""Where a positive stands: it is a third view with a term of its own, or it takes the second view's place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import distributed, randomness
from clsp.objectives.base import Objective
from clsp.objectives.precision import full_precision
from clsp.positives.positive import Positive
from clsp.settings import Count, NonNegative, settings
from clsp.settings.types import ProperFraction

NO_IMAGE = -2
"""In place of a dataset index, where no other image is shown; memories have -1 for rows of no image."""
Placement = Literal["third", "host"]
Schedule = Literal["constant", "cosine"]


@settings
class Third:
    """A third view: lambda times what its objective says is added to the method's loss."""

    weight: NonNegative = 1.0
    """lambda of the term lambda * what the objective says."""
    count: Count = 1
    """m: positives of an anchor in one step, as StableRep (arXiv 2306.00984) and SupCon have several. Each is pulled by
    itself and counts 1/m, and those of one anchor are never each other's negatives. A bank draws each of them among its
    k, so that one may come twice. A step costs m third views."""
    schedule: Schedule = "constant"
    """lambda over the training: constant (the paper), or falling along half a cosine to 0."""
    trim: ProperFraction = 0.0
    """Fraction of a batch's pairs, those whose positive lies farthest from its anchor, that are not pulled together."""

    def term(
        self,
        pair: tuple[Tensor, Tensor],
        objective: Objective,
        progress: float,
        *,
        weights: Tensor | None = None,
        mates: Tensor | None = None,
        ignore: Tensor | None = None,
    ) -> Tensor:
        """Compute what the positive adds to the method's terms.

        Args:
            pair: embeddings of anchors, float [B, D], and of their positives, as the method pairs them, float [m B, D]:
                the first of all anchors, then the second, ...
            objective: what pulls them together.
            progress: fraction of the training that is done, in [0, 1].
            weights: how strongly each pair counts, float [m B]; None: fully.
            mates: of mixtures, the row of the other anchor that is pulled, too, with the weight 1 - ``weights``, int64
                [m B].
            ignore: bool [B, G], True where anchor j of the global batch is no negative of anchor i.

        Returns:
            A scalar.
        """
        anchors, positives = pair
        count, terms = len(positives) // len(anchors), list[Tensor]()
        blocks = zip(positives.chunk(count), _chunks(weights, count), _chunks(mates, count), strict=True)
        for block, counts, others in blocks:
            term = self._pulled(anchors, block, objective, counts, ignore)
            if others is not None and counts is not None:
                term = term + self._pulled(anchors[others], block, objective, 1.0 - counts, ignore)
            terms.append(term)
        together = terms[0] if count == 1 else torch.stack(terms).mean()
        return scheduled(self.weight, self.schedule, progress) * together

    def _pulled(
        self, anchors: Tensor, positives: Tensor, objective: Objective, weights: Tensor | None, ignore: Tensor | None
    ) -> Tensor:
        if self.trim:
            kept = closest_pairs(anchors, positives, 1.0 - self.trim)
            weights = kept if weights is None else weights * kept
        return objective(anchors, positives, weights=weights, ignore=ignore)


@settings
class Host:
    """In the second view's place, for some anchors of each step: the method's own objective pulls it.

    It costs no more than two views. With odds r the method's loss weighs the pairs of two views and those with a
    positive as L(view, view) + r L(view, positive) does, up to the factor 1 + r and the company of the negatives.
    """

    odds: NonNegative = 1.0
    """r: how many anchors have the positive in the second view's place for one that has its own second view there; 1:
    half of them."""
    schedule: Schedule = "constant"
    """The odds over the training: constant, or falling along half a cosine to 0."""
    weigh: Literal["chance", "loss"] = "chance"
    """What a positive's weight is: a factor of its chance to stand there, or of its pair's loss (IVPP's form, for the
    methods that weigh pairs)."""

    def fraction(self, progress: float) -> float:
        """Return the fraction of the anchors whose second view is made of the positive."""
        odds = scheduled(self.odds, self.schedule, progress)
        return odds / (1.0 + odds)

    def place(
        self, positive: Positive, anchors: Tensor, ids: Tensor, progress: float, *, seed: int, step: int
    ) -> Positive:
        """Choose whose second view is made of the positive; the others' is made of the anchor itself.

        Args:
            positive: a positive of each anchor.
            anchors: the anchors' images, uint8 [B, C, H, W].
            ids: their dataset indices, int64 [B].
            progress: fraction of the training that is done, in [0, 1].
            seed: names the choice.
            step: the training step, which names it, too.
        """
        fraction, weights = self.fraction(progress), positive.weights
        chance = fraction if weights is None or self.weigh == "loss" else fraction * weights
        chosen = in_place(ids, chance, seed=seed, step=step)
        kept = None
        if weights is not None and self.weigh == "loss":
            kept = torch.where(chosen, weights, torch.ones_like(weights))
        return Positive(
            torch.where(chosen.view(-1, 1, 1, 1), positive.images, anchors),
            weights=kept,
            ids=None if positive.ids is None else torch.where(chosen, positive.ids, ids),
        )


def _chunks(values: Tensor | None, count: int) -> Sequence[Tensor | None]:
    return [None] * count if values is None else values.chunk(count)


def in_place(ids: Tensor, chance: Tensor | float, *, seed: int, step: int) -> Tensor:
    """Choose the anchors whose positive takes the second view's place in a step: bool [B]."""
    return randomness.uniform(seed, "in place", (step, ids), 1)[:, 0] < chance


def scheduled(value: float, schedule: Schedule, progress: float) -> float:
    """Return ``value`` at the fraction ``progress`` of the training."""
    return value * (0.5 * (1.0 + math.cos(math.pi * progress)) if schedule == "cosine" else 1.0)


def no_negatives(ids: Tensor, shown: Tensor) -> Tensor:
    """Mark the images that are no negatives of each other, as one is the other's positive in this step.

    Args:
        ids: dataset indices of this process's anchors, int64 [B].
        shown: those of the images that are their positives, int64 [B].

    Returns:
        bool [B, G] over the anchors of all processes.
    """
    everyone, everyones = distributed.gather_detached(ids), distributed.gather_detached(shown)
    return (shown[:, None] == everyone) | (ids[:, None] == everyones)


@full_precision
def closest_pairs(anchors: Tensor, positives: Tensor, fraction: float) -> Tensor:
    """Weigh the pairs of the global batch so that a weighted mean is the mean over the closest ones.

    Args:
        anchors: embeddings, float [B, D], not necessarily normalised.
        positives: float [B, D], in the same order.
        fraction: of the pairs, in (0, 1], those with the largest cosine (rounded up).

    Returns:
        float [B] without gradient: pairs / pairs kept for those kept, 0 for the rest.
    """
    own = F.cosine_similarity(anchors.detach(), positives.detach(), dim=1)
    cosines = distributed.gather_detached(own)
    kept = math.ceil(round(fraction * len(cosines), 6))
    weights = torch.zeros_like(cosines).index_fill(0, cosines.topk(kept).indices, len(cosines) / kept)
    return weights[distributed.rows(len(own), own.device)]
