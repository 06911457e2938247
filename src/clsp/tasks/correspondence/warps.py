"""Warps of real images: where every point went is known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import randomness
from clsp.tasks.correspondence.geometry import centres

_GRID = 4
"""Control points of the smooth part, across and down."""
_AFFINE, _SMOOTH, _COLOUR = (0.7, 1.3, 30.0, 0.3), 0.06, 0.2
"""Smallest and largest scale, degrees, and shift of the affine part; shift of a control point; change of a channel.

So large that guessing the same place finds about a quarter of the points within a tenth of the image.
"""


@dataclass(frozen=True)
class Warped:
    """Images and their warps."""

    images: Tensor
    """The warps, float [N, C, H, W]."""
    points: Tensor
    """(x, y) in the warps, float [N, P, 2]."""
    truth: Tensor
    """Where the same points lie in the images that were warped, float [N, P, 2], all inside."""


def warp(images: Tensor, points: int, *, seed: int, ids: Tensor) -> Warped:
    """Turn, scale, shift and bend images, and change their colours.

    Args:
        images: float [N, C, H, W] in [0, 1].
        points: points of each.
        seed: names all draws.
        ids: of the images, which name their own draws, int64 [N].
    """
    affine = _affine(randomness.uniform(seed, "warp", (ids,), 5))
    bend = (2 * randomness.uniform(seed, "bend", (ids,), 2 * _GRID**2) - 1).view(-1, 2, _GRID, _GRID) * _SMOOTH
    height, width = images.shape[2:]
    where = _origin(centres(height, width).expand(len(images), -1, -1), affine, bend)
    grid = where.unflatten(1, (height, width))
    warped = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    gains = 1 + _COLOUR * (2 * randomness.uniform(seed, "colour", (ids,), images.shape[1]) - 1)
    chosen = _inside(points, affine, bend, seed=seed, ids=ids)
    return Warped((warped * gains[:, :, None, None]).clamp(0, 1), chosen, _origin(chosen, affine, bend))


def _affine(draws: Tensor) -> Tensor:
    """Affine maps from warps to images, float [N, 2, 3], by uniform numbers [N, 5]."""
    low, high, degrees, most = _AFFINE
    scale = low + (high - low) * draws[:, 0]
    angle = math.radians(degrees) * (2 * draws[:, 1] - 1)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    x, y = (most * (2 * draws[:, column] - 1) for column in (2, 3))
    return torch.stack((torch.stack((cos, -sin, x), dim=1), torch.stack((sin, cos, y), dim=1)), dim=1)


def _origin(points: Tensor, affine: Tensor, bend: Tensor) -> Tensor:
    """Where points of the warps, float [N, P, 2], lie in the images: the smooth shift first, then the affine map."""
    shift = F.grid_sample(bend, points[:, None], mode="bicubic", padding_mode="border", align_corners=False)
    moved = points + shift[:, :, 0].transpose(1, 2)
    found: Tensor = moved @ affine[:, :, :2].transpose(1, 2) + affine[:, None, :, 2]
    return found


def _inside(count: int, affine: Tensor, bend: Tensor, *, seed: int, ids: Tensor) -> Tensor:
    """Points of the warps that lie inside of the images, too: float [N, P, 2]; the middle, where too few do."""
    tried = 8 * count
    points = 1.9 * randomness.uniform(seed, "points", (ids,), 2 * tried).view(-1, tried, 2) - 0.95
    good = (_origin(points, affine, bend).abs() < 0.95).all(dim=2)
    first = torch.argsort((~good).int(), dim=1, stable=True)[:, :count]
    chosen = points.gather(1, first[..., None].expand(-1, -1, 2))
    return torch.where(good.gather(1, first)[..., None], chosen, torch.zeros(()))
