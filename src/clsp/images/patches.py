"""Which patches of one crop show what patches of another do not, and random choices among them.

A view is parted into a grid of cells, a transformer's patches; cells are numbered row by row as they stand in the view,
which may be flipped. The choice is that of asymmetric patch sampling (Shen et al., arXiv 2306.02854); their code maps
the cells of flipped views to the wrong side, here they are mapped back.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clsp import randomness
from clsp.images.augment import Crops
from clsp.objectives.precision import full_precision

_ROUNDING = 1e-3
"""A fraction of a cell that may be rounding: so little is nothing."""

_SOONEST = 2.0**-25
"""The clocks below ring at the logarithm of a time from here to 18."""

_LAST = 40.0
"""What puts a cell behind all others: twice the width of those logarithms."""


@full_precision
def free_shares(chosen: Tensor, first: Crops, other: Crops, grid: tuple[int, int]) -> Tensor:
    """Share r of each cell of a view that no chosen cell of the first view shows.

    The cells of a view do not overlap each other, so that the covered areas add up; and an area is a width times a
    height, so that the sum over the chosen cells is a product of three matrices.

    Args:
        chosen: cells of the first view, int64 [B, n], without repetition.
        first: crops of the first view.
        other: crops of the other view, of the same images.
        grid: rows and columns of cells in a view.

    Returns:
        float [B, rows * columns] in [0, 1].
    """
    rows, columns = grid
    down = _covered(_edges(first.top, first.height, rows), _edges(other.top, other.height, rows))
    across = _covered(
        _edges(first.left, first.width, columns, first.flip), _edges(other.left, other.width, columns, other.flip)
    )
    mask = torch.zeros(len(chosen), rows * columns, device=chosen.device).scatter(1, chosen, 1.0)
    covered = down @ mask.view(-1, rows, columns) @ across.mT
    return (1.0 - covered.flatten(1)).clamp(0.0, 1.0)


def _edges(start: Tensor, length: Tensor, cells: int, flip: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Where the cells along one side begin and end in the image, float [B, cells] each."""
    places = torch.arange(cells, device=start.device).expand(len(start), -1)
    if flip is not None:
        places = torch.where(flip[:, None], cells - 1 - places, places)
    size = length[:, None] / cells
    begin = start[:, None] + places * size
    return begin, begin + size


def _covered(first: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """Share of each interval of ``other`` that each of ``first`` covers, float [B, other, first]."""
    end = torch.minimum(other[1][:, :, None], first[1][:, None, :])
    begin = torch.maximum(other[0][:, :, None], first[0][:, None, :])
    return (end - begin).clamp_min(0.0) / (other[1] - other[0])[:, :, None]


def log_weights(free: Tensor, power: float) -> Tensor:
    """Logarithm of a cell's weight r^power in the draw.

    Args:
        free: fractions r of the cells, float [B, cells].
        power: gamma >= 0; 0 weighs all cells alike, also those with r = 0.

    Returns:
        float [B, cells]; cells with r = 0 stand so low that they are drawn when no others are left.
    """
    if power == 0:
        return torch.zeros_like(free)
    lowest = power * math.log(_ROUNDING) - _LAST
    return torch.where(free > _ROUNDING, power * free.clamp_min(_ROUNDING).log(), lowest)


def draw_patches(weights: Tensor, count: int, *, seed: int, step: int, ids: Tensor, view: int) -> Tensor:
    """Draw cells one after another without replacement, each time with odds of exp(weights) among those left.

    The order in which exponential clocks of these rates ring is the order of such draws, so that the first ``count``
    of them are taken, whatever else is in the batch.

    Args:
        weights: logarithms of weights, float [B, cells], from `log_weights`.
        count: cells to draw, at most as many as there are.
        seed: the run's seed.
        step: the training step.
        ids: dataset indices, int64 [B].
        view: number of the view (0, 1, 2).

    Returns:
        int64 [B, count], rising: their order means nothing.
    """
    draws = randomness.uniform(seed, "patches", (step, ids, torch.full_like(ids, view)), weights.shape[1])
    rings = (-draws.log()).clamp_min(_SOONEST).log() - weights
    return rings.topk(count, largest=False).indices.sort().values
