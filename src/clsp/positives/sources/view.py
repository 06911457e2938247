"""The anchor itself, to be augmented once more: the control for "one more view"."""

from __future__ import annotations

import torch
from torch import Tensor

from clsp.positives.source import Draw, Material, Positive, Source
from clsp.settings import settings


@settings
class RealView(Source):
    """A further view of the anchor."""

    def build(self, material: Material, *, seed: int, device: torch.device) -> Draw:
        """Return what returns the anchors."""
        return _again


def _again(positions: Tensor, anchors: Tensor, step: int) -> Positive:
    return Positive(anchors)
