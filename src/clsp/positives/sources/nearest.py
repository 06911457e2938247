"""The nearest images by their pixels: would real neighbours do what candidates do?"""

from __future__ import annotations

import torch

from clsp.engine.neighbours import nearest
from clsp.engine.pixels import coarse
from clsp.positives.lists import OneOf
from clsp.positives.source import Draw, Material, Source
from clsp.settings import Count, settings

_NEIGHBOURS = 4
"""Nearest images that take turns, where no bank says how many candidates an anchor has."""
_SIDE = 32
"""Pixels of a side that are compared at most: finer ones tell only whether two images lie on one another exactly."""
_CHUNK = 4096
"""Images that are made coarse at once."""


@settings
class Nearest(Source):
    """One of the nearest other images, by the cosine of their pixels.

    Pixels, because a positive of this kind must be known before there is an encoder: NNCLR is what searches by
    embedding, and so does the source ``neighbour``.
    """

    neighbours: Count | None = None
    """Nearest images that take turns; null: as many as an anchor has candidates where there is a bank, else 4."""

    def build(self, material: Material, *, seed: int, device: torch.device) -> Draw:
        """Search all neighbours, at most all other images, and return what draws one."""
        pixels, count = material.pixels, len(material.pixels)
        usual = material.bank.candidates if material.bank else _NEIGHBOURS
        k = min(self.neighbours or usual, count - 1)
        places = torch.arange(count, device=device)
        flat = torch.cat([coarse(pixels[part], _SIDE) for part in places.split(_CHUNK)])
        flat -= flat.mean(dim=0)
        found = nearest(flat, flat, k + 1)[1]
        # The anchor is among its own neighbours, or so many equal images are that it does not matter which one is left
        # out.
        own = found == places[:, None]
        own[~own.any(dim=1), -1] = True
        return OneOf(pixels, found[~own], places * k, torch.full_like(places, k), seed=seed)
