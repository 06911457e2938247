"""Clusters: k-means of unit embeddings; the number of clusters is chosen by the silhouette."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from clsp.images.imageset import subset

COUNTS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20)
"""Numbers of clusters that are tried."""

_SMALLEST = 5
"""Images of a cluster on average, at least; with fewer images fewer clusters are tried."""
_NEAR = 0.8
"""Fraction of the best silhouette that a larger number of clusters must reach to be preferred."""
_RATED, _FITTED = 2_000, 20_000
"""Images whose silhouette is measured, and those that the centres are fitted to; all are assigned."""
_STARTS = 4
"""Beginnings of k-means, of which the best result counts."""
_ROWS = 16_384
"""Images that are assigned at once."""

RULE = (
    f"k-means of the unit embeddings. Of {', '.join(map(str, COUNTS[:-1]))} and {COUNTS[-1]} clusters the largest "
    f"number is taken whose silhouette (Rousseeuw 1987, on at most {_RATED:,} images) is at least {_NEAR:g} of the "
    "best one, which is often that of two."
)
"""How many clusters there are."""


@dataclass(frozen=True)
class Clusters:
    """Every image's cluster; the largest cluster is the first."""

    cluster: np.ndarray
    """int64 [N], from 0 on."""
    distance: np.ndarray
    """1 - cosine to the cluster's centre, float32 [N]."""
    sizes: np.ndarray
    """Images of each, int64 [K], in falling order."""
    silhouettes: dict[int, float]
    """The mean silhouette of each number of clusters that was tried."""

    @property
    def silhouette(self) -> float:
        """That of the number that was taken; 0 where none could be measured."""
        return self.silhouettes.get(len(self.sizes), 0.0)

    def typical(self, cluster: int, count: int) -> np.ndarray:
        """The images of a cluster that are nearest to its centre, at most ``count``, nearest first: int64."""
        members = np.flatnonzero(self.cluster == cluster)
        return members[np.argsort(self.distance[members], kind="stable")[:count]]


def find_clusters(unit: np.ndarray, *, seed: int) -> Clusters:
    """Part unit embeddings float32 [N, D] into clusters; the same bytes for the same ones, whatever the threads."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():  # sums of several threads come in any order
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different embeddings than clusters
        silhouettes = _silhouettes(unit[subset(len(unit), _RATED, seed=seed)], seed)
        best = max(silhouettes.values(), default=0.0)
        enough = [count for count, value in silhouettes.items() if value >= (_NEAR * best if best > 0 else best)]
        centres = _centres(unit[subset(len(unit), _FITTED, seed=seed)], max(enough, default=1), seed)
        cluster, distance = _assigned(unit, centres)
    sizes = np.bincount(cluster, minlength=len(centres))
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Clusters(rank[cluster], distance, sizes[order][sizes[order] > 0], silhouettes)


def _silhouettes(unit: np.ndarray, seed: int) -> dict[int, float]:
    """The mean silhouette of each number of clusters that there are images enough for."""
    from sklearn.metrics import silhouette_score

    found = {}
    for count in COUNTS:
        if count * _SMALLEST <= len(unit):
            labels = _fitted(unit, count, seed).labels_
            if 1 < len(np.unique(labels)) < len(unit):
                found[count] = float(silhouette_score(unit, labels))
    return found


def _fitted(unit: np.ndarray, count: int, seed: int) -> Any:
    from sklearn.cluster import KMeans

    return KMeans(count, n_init=_STARTS, random_state=seed % 2**32).fit(unit)


def _centres(unit: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The centres of the clusters, float32 [count, D]."""
    centres: np.ndarray = _fitted(unit, count, seed).cluster_centers_
    return centres


def _assigned(unit: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each image's nearest centre by Euclidean distance, int64 [N], and 1 - cosine to it, float32 [N]."""
    squares = (centres**2).sum(axis=1)
    lengths = np.sqrt(np.maximum(squares, 1e-24))
    nearest, distance = np.empty(len(unit), np.int64), np.empty(len(unit), np.float32)
    for first in range(0, len(unit), _ROWS):
        rows = slice(first, first + _ROWS)
        products = unit[rows] @ centres.T
        nearest[rows] = (squares - 2.0 * products).argmin(axis=1)
        chosen = nearest[rows]
        distance[rows] = np.maximum(1.0 - products[np.arange(len(chosen)), chosen] / lengths[chosen], 0.0)
    return nearest, distance
