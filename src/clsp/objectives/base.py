"""An objective that can pull an additional positive: a small value with its own settings, called with embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Objective(ABC):
    """What pulls an anchor and its additional positive together. Its fields are its settings."""

    negatives: ClassVar[bool]
    """Whether other images of the batch repel: then it heeds ``ignore``."""

    @abstractmethod
    def __call__(
        self, anchors: Tensor, positives: Tensor, *, weights: Tensor | None = None, ignore: Tensor | None = None
    ) -> Tensor:
        """Compute the loss.

        Args:
            anchors: float [B, D], not necessarily normalised.
            positives: float [B, D], in the same order.
            weights: a weight for each pair, float [B]; None: 1.
            ignore: bool [B, G], True where image j of the global batch is no negative of image i; None: all are.

        Returns:
            A scalar, the mean over the pairs.
        """


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of ``losses`` [B], each times its weight where there are weights [B] (not normalised)."""
    return losses.mean() if weights is None else (losses * weights).mean()
