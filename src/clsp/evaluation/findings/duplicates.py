"""Near-duplicates: pairs whose embeddings are close and whose pixels agree.

An encoder that learnt to ignore crops and colours gives different images the same embedding. So the embedding proposes
pairs, and the pixels decide: thumbnails by the rule of the named data sets, then the images at their full size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from clsp import files
from clsp.evaluation.pairs import close_pairs
from clsp.images.named.parts import CONTRAST, LEVELS, most_apart

COSINE = 0.9
"""Smallest cosine of the embeddings of near-duplicates."""

_SIDE = 16
"""Height and width of thumbnails."""

_FINE = 0.6
"""At full size near-duplicates differ by at most this fraction of the smaller one's standard deviation. Pages of text
have like thumbnails, and differ by more than their deviation; a copy of another size or quality differs by less."""

_ROWS = 256
"""Images that are looked at at once."""

RULE = (
    f"Pairs of images with a cosine of at least {COSINE:g} whose {_SIDE}-pixel thumbnails differ by at most "
    f"{LEVELS:g} grey levels (root mean square) and {CONTRAST:g} of their standard deviation, and whose pixels at full "
    f"size differ by at most {_FINE:g} of it. For each image its ten nearest were looked at."
)
"""What counts as a near-duplicate."""


@dataclass(frozen=True)
class Duplicates:
    """Pairs of near-duplicates, the closest first."""

    places: np.ndarray
    """int64 [P, 2], the smaller one first."""
    similarity: np.ndarray
    """Cosines of their embeddings, float32 [P]."""
    difference: np.ndarray
    """Root mean square difference of their thumbnails in grey levels, float32 [P]."""
    group: np.ndarray
    """Number of the group that chains of pairs connect, int64 [P], from 1 on."""

    @property
    def groups(self) -> int:
        """Number of the groups."""
        return int(self.group.max(initial=0))


def find_duplicates(similar: Tensor, found: Tensor, images: files.Array) -> Duplicates:
    """Find near-duplicates among the nearest others of each image.

    Args:
        similar: cosines of each image and its nearest others, float [N, K].
        found: which those are, int64 [N, K].
        images: uint8 [N, C, H, W].
    """
    close = close_pairs(similar, found, COSINE)
    places, pairs = np.unique(close.places, return_inverse=True)
    small = _thumbnails(images, places)
    first, second = pairs.reshape(-1, 2).T
    deviation, difference = small.std(axis=1), _apart(small, first, second)
    alike = np.flatnonzero(difference <= most_apart(deviation[first], deviation[second]))
    alike = alike[_agree(images, close.places[alike])]
    order = alike[np.lexsort((alike, -close.similarity[alike], difference[alike].round(3)))]
    chosen = close.places[order]
    return Duplicates(chosen, close.similarity[order], difference[order], _groups(chosen))


def _thumbnails(images: files.Array, rows: np.ndarray) -> np.ndarray:
    """Images averaged to at most 16 pixels a side, float32 [N, values]."""
    side = min(_SIDE, images.shape[2])
    made = [np.empty((0, images.shape[1] * side * side), np.float32)]
    for first in range(0, len(rows), _ROWS):
        pixels = torch.from_numpy(files.take(images, rows[first : first + _ROWS])).float()
        made.append(F.adaptive_avg_pool2d(pixels, side).flatten(1).numpy())
    return np.concatenate(made)


def _apart(small: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Root mean square difference of the thumbnails ``first`` and ``second`` (int64 [P]) of ``small``; float32 [P]."""
    apart = np.empty(len(first), np.float32)
    for start in range(0, len(first), _ROWS):
        part = slice(start, start + _ROWS)
        apart[part] = np.sqrt(((small[first[part]] - small[second[part]]) ** 2).mean(axis=1))
    return apart


def _agree(images: files.Array, pairs: np.ndarray) -> np.ndarray:
    """Whether the images of each of ``pairs`` int64 [P, 2] agree at full size; bool [P]."""
    agree = np.empty(len(pairs), dtype=bool)
    for start in range(0, len(pairs), _ROWS):
        part = slice(start, start + _ROWS)
        one, other = files.take(images, pairs[part]).astype(np.float32).reshape(-1, 2, images[:1].size).swapaxes(0, 1)
        apart = np.sqrt(((one - other) ** 2).mean(axis=1))
        agree[part] = apart <= _FINE * np.minimum(one.std(axis=1), other.std(axis=1))
    return agree


def _groups(pairs: np.ndarray) -> np.ndarray:
    """Number the groups that pairs int64 [P, 2] connect, in the order in which they come first; int64 [P]."""
    if not len(pairs):
        return np.empty(0, np.int64)
    members, inside = np.unique(pairs, return_inverse=True)
    first, second = inside.reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(pairs)), (first, second)), shape=(len(members), len(members)))
    component = connected_components(graph, directed=False)[1][first]
    number: dict[int, int] = {}
    return np.array([number.setdefault(int(one), len(number) + 1) for one in component])
