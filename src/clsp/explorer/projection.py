"""The map: embeddings in two dimensions."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from clsp import console
from clsp.engine.threads import limited
from clsp.images.imageset import subset

_EXACT = 10_000
"""Images that t-SNE places, in minutes; of more, so many at random, and the others beside them."""
_BESIDE = 3
"""Placed images between which one of the others stands."""
_FEWEST = 5
"""Images that t-SNE needs."""
_DIRECTIONS = 50
"""Main directions that t-SNE looks at."""
_PERPLEXITY = 30.0


@dataclass(frozen=True)
class Projection:
    """Places on the map."""

    points: np.ndarray
    """float32 [n, 2], in [-1, 1], with one scale for both directions."""
    method: str
    """How they were found, a sentence."""
    seconds: float
    """Time that it took."""


def project(values: np.ndarray, *, seed: int) -> Projection:
    """Place embeddings, float32 [n, D], on a map: by PCA, and then by t-SNE.

    Of more than 10,000 so many are placed that are chosen at random; each of the others stands between its three
    nearest of these, nearer to the nearer ones.
    """
    from sklearn.decomposition import PCA

    began, total = time.monotonic(), len(values)
    unit = F.normalize(torch.from_numpy(values), dim=1).numpy()
    most = min(_DIRECTIONS, *unit.shape)
    with limited():
        solver = "full" if most == min(unit.shape) else "auto"
        points = PCA(most, svd_solver=solver, random_state=seed % 2**32).fit_transform(unit)
        if total < _FEWEST:
            return Projection(_fitted(points), "their two main directions (PCA)", time.monotonic() - began)
        rows = subset(total, _EXACT, seed=seed)
        console.say(f"explore: placing {len(rows):,} images on the map (t-SNE)")
        perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
        placed, method = (
            _placed(points[rows], perplexity, seed),
            f"t-SNE (perplexity {perplexity:.0f}) of the embeddings",
        )
        if len(rows) < total:
            placed = _beside(points, rows, placed)
            method += f" of {len(rows):,} images; each of the others stands between its nearest {_BESIDE} of these"
    return Projection(_fitted(placed), method, time.monotonic() - began)


def _placed(points: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    start = points[:, :2] / max(float(points[:, 0].std()), 1e-12) * 1e-4  # what init="pca" does, without doing it again
    if start.shape[1] < 2:
        start = np.hstack([start, np.zeros_like(start)])
    tsne = TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=seed % 2**32)
    made: np.ndarray = tsne.fit_transform(points)
    return made


def _beside(points: np.ndarray, rows: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """Places of all points, where those of ``rows`` are known."""
    from sklearn.neighbors import KNeighborsRegressor

    near = KNeighborsRegressor(_BESIDE, weights="distance").fit(points[rows], placed)
    made: np.ndarray = near.predict(points)
    made[rows] = placed
    return made


def _fitted(points: np.ndarray) -> np.ndarray:
    """The points centred in [-1, 1]; where there is one direction only, on a line."""
    wide = np.zeros((len(points), 2), np.float32)
    wide[:, : points.shape[1]] = points[:, :2]
    low, high = wide.min(axis=0), wide.max(axis=0)
    scale = float((high - low).max()) / 2 or 1.0
    fitted: np.ndarray = ((wide - (low + high) / 2) / scale).astype(np.float32)
    return fitted
