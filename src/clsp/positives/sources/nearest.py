"""The nearest images by their pixels: would real neighbours do what candidates do?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp.engine.neighbours import nearest
from clsp.engine.pixels import Pixels
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
        flat = _coarse(pixels, places)
        flat -= flat.mean(dim=0)
        found = nearest(flat, flat, k + 1)[1]
        # The anchor is among its own neighbours, or so many equal images are that it does not matter which one is left
        # out.
        own = found == places[:, None]
        own[~own.any(dim=1), -1] = True
        return OneOf(pixels, found[~own], places * k, torch.full_like(places, k), seed=seed)


def _coarse(pixels: Pixels, places: Tensor) -> Tensor:
    """Images of at most ``_SIDE`` pixels, flat: float32 [N, D]."""
    return torch.cat([_small(pixels[part]) for part in places.split(_CHUNK)])


def _small(images: Tensor) -> Tensor:
    """uint8 [B, C, H, W] as float32 [B, D], larger ones by the mean of their pixels."""
    values = images.float()
    size = min(images.shape[2], _SIDE), min(images.shape[3], _SIDE)
    return (values if size == images.shape[2:] else F.adaptive_avg_pool2d(values, size)).flatten(1)
