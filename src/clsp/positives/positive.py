"""An additional positive of a batch: the images, and how they count."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Positive:
    """One more image for each anchor of a batch, and how it counts."""

    images: Tensor
    """uint8 [B, C, H, W], on the anchors' device; they are augmented afterwards like the anchors."""
    weights: Tensor | None = None
    """How strongly each counts, float [B] in [0, 1]; None: fully."""
    mates: Tensor | None = None
    """Of mixtures: the place in the batch of the other anchor that the image shows, int64 [B]. That anchor is pulled to
    it, too, with the weight 1 - ``weights``."""
    ids: Tensor | None = None
    """Of other real images: their dataset indices, int64 [B], where they are to be no negatives of their anchors while
    they are their positives; None: nothing is left out."""
