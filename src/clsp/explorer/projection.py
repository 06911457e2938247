"""The map: embeddings in two dimensions."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from clsp import console
from clsp.engine.threads import limited

_EXACT = 20_000
"""Images that t-SNE places; of more the map is of their two main directions, in seconds instead of many minutes."""
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
    """Place embeddings, float32 [n, D], on a map: by PCA, and then by t-SNE where they are at most 20,000."""
    from sklearn.decomposition import PCA

    began, total = time.monotonic(), len(values)
    unit = F.normalize(torch.from_numpy(values), dim=1).numpy()
    exact = _FEWEST <= total <= _EXACT
    most = min(_DIRECTIONS if exact else 2, *unit.shape)
    with limited():
        points = PCA(most, svd_solver="full" if most == unit.shape[1] else "auto", random_state=seed).fit_transform(unit)
        method = "the two main directions (PCA) of the embeddings"
        if exact:
            perplexity = min(_PERPLEXITY, (total - 1) / 3)
            console.say(f"explore: placing {total:,} images on the map (t-SNE)")
            points, method = _placed(points, perplexity, seed), f"t-SNE (perplexity {perplexity:.0f}) of the embeddings"
    return Projection(_fitted(points), method, time.monotonic() - began)


def _placed(points: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    start = points[:, :2] / max(float(points[:, 0].std()), 1e-12) * 1e-4  # what init="pca" does, without doing it again
    if start.shape[1] < 2:
        start = np.hstack([start, np.zeros_like(start)])
    made: np.ndarray = TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=seed).fit_transform(points)
    return made


def _fitted(points: np.ndarray) -> np.ndarray:
    """The points centred in [-1, 1]; where there is one direction only, on a line."""
    wide = np.zeros((len(points), 2), np.float32)
    wide[:, : points.shape[1]] = points[:, :2]
    low, high = wide.min(axis=0), wide.max(axis=0)
    scale = float((high - low).max()) / 2 or 1.0
    fitted: np.ndarray = ((wide - (low + high) / 2) / scale).astype(np.float32)
    return fitted
