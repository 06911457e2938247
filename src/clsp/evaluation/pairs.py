"""Mine pairs of images with the same content by a trained encoder, as SePP does before its training.

Alkhalefi, Leontidis and Zhong, arXiv 2306.16122: images, not views, are compared by the cosine of their features, and a
pair is kept between two bounds; the upper one leaves out copies. The bounds 0.97 and 0.99 are from memory of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clsp import files
from clsp.engine.neighbours import nearest
from clsp.errors import UserError
from clsp.images.imageset import Split
from clsp.text import csv_text

_LOOK = 9
"""Images that are looked at for each: itself, seven copies, and the partner."""


@dataclass(frozen=True)
class MinedPairs:
    """Pairs of images, each once."""

    places: np.ndarray
    """Dataset indices, int64 [P, 2], the smaller one first."""
    similarity: np.ndarray
    """Cosines, float32 [P]."""

    def agreement(self, labels: np.ndarray | None) -> float | None:
        """Return the fraction of the pairs with the same label, among those with two labels; None without any."""
        if labels is None:
            return None
        first, second = labels[self.places].T
        known = (first >= 0) & (second >= 0)
        return float((first == second)[known].mean()) if known.any() else None

    def save(self, path: Path, split: Split) -> None:
        """Write the pairs as CSV: the names of both images and their similarity."""
        rows = (
            (split.names[first], split.names[second], f"{cosine:.6f}")
            for (first, second), cosine in zip(self.places, self.similarity, strict=True)
        )
        files.write_text(path, csv_text(["first", "second", "similarity"], rows))


def mine_pairs(features: Tensor, low: float, high: float) -> MinedPairs:
    """Pair every image with its nearest one whose similarity is within the bounds.

    Args:
        features: of whole images, float [N, D].
        low: smallest cosine of a pair.
        high: largest cosine of a pair; above it images count as copies of each other and are passed over, up to
            seven of them.

    Raises:
        UserError: no pair is within the bounds.
    """
    count = len(features)
    similar, found = nearest(features, features, min(_LOOK, count))
    rows = torch.arange(count)
    fits = (similar >= low) & (similar <= high) & (found != rows[:, None])
    first = fits.float().argmax(dim=1)  # of the nearest that fits
    has = fits.any(dim=1)
    if not has.any():
        others = similar.masked_fill(found == rows[:, None], -1.0).amax(dim=1)
        middle, top = others.quantile(0.5).item(), others.quantile(0.95).item()
        raise UserError(
            f"--between {low:g},{high:g}: no pair of images is as similar; an image's nearest one has a cosine of "
            f"{middle:.3f} in half of the cases and above {top:.3f} in one of twenty"
        )
    return _once(torch.stack((rows, found[rows, first]), dim=1)[has], similar[rows, first][has])


def close_pairs(similar: Tensor, found: Tensor, low: float) -> MinedPairs:
    """Pair every image with all of its nearest ones that are similar enough.

    Args:
        similar: cosines of each image and its nearest others, float [N, K].
        found: which those are, int64 [N, K].
        low: smallest cosine of a pair.

    Returns:
        The pairs; there may be none.
    """
    close = similar >= low
    rows = torch.arange(len(found))[:, None].expand_as(found)
    return _once(torch.stack((rows[close], found[close]), dim=1), similar[close])


def _once(pairs: Tensor, cosines: Tensor) -> MinedPairs:
    """Each of the pairs int64 [P, 2] once, whichever image found the other one."""
    unique, back = pairs.sort(dim=1).values.unique(dim=0, return_inverse=True)
    largest = torch.zeros(len(unique)).scatter_reduce_(0, back, cosines, "amax", include_self=False)
    return MinedPairs(unique.numpy(), largest.numpy())
