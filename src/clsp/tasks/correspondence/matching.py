"""From features to matches: the nearest place, optimal transport between all places, and Hough votes for a shift."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp.objectives.distribution import sinkhorn
from clsp.tasks.correspondence.geometry import centres

_EPSILON, _ITERATIONS = 0.05, 50
"""Entropy of the transport, as SCOT has it, and Sinkhorn's iterations."""
_BINS = 16
"""Bins of a shift, across and down, over twice the image."""


def similarities(source: Tensor, target: Tensor) -> Tensor:
    """Cosines between all places of two feature maps [C, h, w]: float [h w, h' w']."""
    first, second = (F.normalize(features.flatten(1), dim=0) for features in (source, target))
    return first.T @ second


def transported(similar: Tensor) -> Tensor:
    """Optimal transport between the places of two images, each with the same weight: float [S, T], the plan.

    Args:
        similar: cosines, float [S, T].
    """
    return sinkhorn(similar, _EPSILON, _ITERATIONS) / len(similar)


def voted(similar: Tensor, source: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """Weigh matches by how many others go the same way: a Hough vote in the space of shifts.

    Args:
        similar: how well places match, at least 0, float [S, T].
        source: height and width of the source's map; S is their product.
        target: likewise.

    Returns:
        float [S, T]: the votes for a match's shift, times the match itself.
    """
    shifts = centres(*target)[None] - centres(*source)[:, None]
    bins = ((shifts + 2.0) / 4.0 * _BINS).long().clamp(0, _BINS - 1)
    flat = (bins[..., 1] * _BINS + bins[..., 0]).flatten()
    votes = torch.zeros(_BINS * _BINS).scatter_add_(0, flat, similar.flatten())
    smooth = F.avg_pool2d(votes.view(1, 1, _BINS, _BINS), 3, stride=1, padding=1).flatten()
    return similar * smooth[flat].view_as(similar)


def match(
    source: Tensor, target: Tensor, points: Tensor, *, transport: bool = False, hough: bool = False
) -> tuple[Tensor, Tensor]:
    """Find the points of the target that match points of the source.

    Args:
        source: feature map of the source, float [C, h, w].
        target: likewise of the target.
        points: (x, y) in the source, in [-1, 1], float [P, 2].
        transport: whether matches share the target out among the places of the source.
        hough: whether they vote for a common shift.

    Returns:
        (x, y) in the target, float [P, 2], and how well each matches, float [P].
    """
    similar = similarities(source, target)
    if transport:
        similar = transported(similar)
    if hough:
        similar = voted(similar.clamp(min=0.0), _size(source), _size(target))
    height, width = _size(source)
    maps = similar.T.reshape(1, -1, height, width)
    at = F.grid_sample(maps, points.view(1, 1, -1, 2), mode="bilinear", padding_mode="border", align_corners=False)
    chances = at[0, :, 0].T
    return _peak(chances, _size(target)), chances.max(dim=1).values


def _size(features: Tensor) -> tuple[int, int]:
    return int(features.shape[1]), int(features.shape[2])


def _peak(chances: Tensor, size: tuple[int, int]) -> Tensor:
    """The best place of each row of float [P, T], refined by a parabola through its neighbours: float [P, 2]."""
    height, width = size
    best = chances.argmax(dim=1)
    maps, rows, row, column = chances.view(-1, height, width), torch.arange(len(best)), best // width, best % width
    found = centres(height, width)[best].clone()
    for axis, side, at in ((0, width, column), (1, height, row)):
        before, after = (at - 1).clamp(min=0), (at + 1).clamp(max=side - 1)
        values = [maps[rows, row, x] if axis == 0 else maps[rows, x, column] for x in (before, at, after)]
        bend = values[0] - 2 * values[1] + values[2]
        shift = torch.where(bend < 0, 0.5 * (values[0] - values[2]) / bend.clamp(max=-1e-12), 0.0)
        inner = (at > 0) & (at < side - 1)
        found[:, axis] += torch.where(inner, shift.clamp(-0.5, 0.5), 0.0) * 2.0 / side
    return found
