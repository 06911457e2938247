"""Sources that give each anchor a list of images, of which one is drawn at every visit."""

from __future__ import annotations

from torch import Tensor

from clsp import randomness
from clsp.engine.pixels import Pixels
from clsp.positives.source import Positive


class OneOf:
    """One image of a list of places that each anchor has, drawn uniformly at every visit.

    Args:
        pixels: the images trained on.
        flat: places of all lists, one after another, int64 [M], on the device of the anchors.
        firsts: where each anchor's list begins, int64 [N], likewise.
        counts: its length, at least 1, int64 [N], likewise.
        seed: names the choices.
    """

    def __init__(self, pixels: Pixels, flat: Tensor, firsts: Tensor, counts: Tensor, *, seed: int) -> None:
        self.pixels, self._seed = pixels, seed
        self.flat, self._firsts, self._counts = flat, firsts, counts

    def draw(self, positions: Tensor, step: int) -> Tensor:
        """Return which entry of ``flat`` each anchor draws in ``step``, int64 [B]."""
        words = randomness.bits(self._seed, "one of", (step, positions), 1)[:, 0]
        return self._firsts[positions] + ((words * self._counts[positions]) >> 32)

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return an image of each anchor's list."""
        return Positive(self.pixels[self.flat[self.draw(positions, step)]])
