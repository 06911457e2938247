"""Any other image: the lower bound."""

from __future__ import annotations

import torch
from torch import Tensor

from clsp import randomness
from clsp.engine.pixels import Pixels
from clsp.positives.source import Draw, Material, Positive, Source
from clsp.settings import settings


@settings
class Random(Source):
    """Any other image trained on, drawn uniformly."""

    def build(self, material: Material, *, seed: int, device: torch.device) -> Draw:
        """Return what draws another image."""
        return OtherImage(material.pixels, seed=seed)


class OtherImage:
    """Draws another image.

    Args:
        pixels: the images trained on.
        seed: names the choices.
    """

    def __init__(self, pixels: Pixels, *, seed: int) -> None:
        self._pixels, self._seed = pixels, seed

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return another image for each anchor."""
        count = len(self._pixels)
        shift = randomness.integers(self._seed, "other image", (step, positions), count - 1)[:, 0]
        return Positive(self._pixels[(positions + 1 + shift) % count])
