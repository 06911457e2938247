"""The state of an encoder without labels: does it tell images apart, and does it use its directions?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from clsp import files
from clsp.engine.neighbours import nearest
from clsp.evaluation.spread import deviation, effective_rank
from clsp.evaluation.trained import Trained
from clsp.images.augment import augment
from clsp.images.config import AugmentConfig
from clsp.images.imageset import subset

_TRIED, _RANKED = 500, 2_000
"""Images of which a view is searched, and images whose directions are counted."""
_ROWS = 64
"""Views that are drawn at once."""
_LEAST = 0.5
"""Smallest area of a view's crop, as a fraction of the image."""


@dataclass(frozen=True)
class State:
    """What was measured of the embeddings."""

    deviation: float
    """Of the unit embeddings' coordinates, times sqrt(D): 1 is even over the sphere, 0 is all the same."""
    effective_rank: float
    """Directions that are in use."""
    dimensions: int
    """D."""
    self_retrieval: float
    """Fraction of views whose nearest embedding is that of their own image."""
    tried: int
    """Number of the views."""
    pool: int
    """Number of the images that each was searched in."""


def look_at(trained: Trained, images: files.Array, unit: Tensor, config: AugmentConfig, *, seed: int) -> State:
    """Measure an encoder on its images.

    Args:
        trained: makes features of views.
        images: uint8 [N, C, H, W].
        unit: their unit embeddings, float [N, D].
        config: how views of images are drawn, as in its training.
        seed: chooses the images, and names their views.
    """
    rows = subset(len(unit), _TRIED, seed=seed)
    found = nearest(trained.features(_views(images, rows, config, seed=seed)), unit, 1)[1][:, 0]
    ranked = unit[torch.from_numpy(subset(len(unit), _RANKED, seed=seed))]
    return State(
        deviation=deviation(ranked),
        effective_rank=effective_rank(ranked),
        dimensions=unit.shape[1],
        self_retrieval=float((found == torch.from_numpy(rows)).float().mean()),
        tried=len(rows),
        pool=len(unit),
    )


def _views(images: files.Array, rows: np.ndarray, config: AugmentConfig, *, seed: int) -> np.ndarray:
    """One random view of each of ``rows``, of the images' own size: uint8 [N, C, H, W].

    A crop shows half of its image or more: of a smaller part nobody could tell whose it is.
    """
    whole = replace(config, size=None, crop_scale=[_LEAST, 1.0])
    made = np.empty((len(rows), *images.shape[1:]), np.uint8)
    for first in range(0, len(rows), _ROWS):
        some = rows[first : first + _ROWS]
        ids = torch.from_numpy(some)
        pixels = torch.from_numpy(files.take(images, some))
        views = augment(pixels, whole, seed=seed, step=0, ids=ids, views=torch.zeros_like(ids))
        made[first : first + _ROWS] = (views * 255.0).round().clamp(0, 255).byte().numpy()
    return made
