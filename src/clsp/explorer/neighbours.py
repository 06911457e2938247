"""Nearest neighbours of every image, and labels that these do not share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from clsp.evaluation.evaluators.knn import vote
from clsp.evaluation.findings.search import nearest_others

_COUNT = 12
"""Neighbours of each image."""
_TEMPERATURE = 0.1
"""Of the vote: the smaller, the more the nearest ones count."""
_ROWS = 4_096
"""Images that are voted on at once."""
_MOST = 1_000
"""Labels that are listed."""

RULE = (
    f"The {_COUNT} nearest others of an image vote for its label, the nearer ones with more weight (weighted kNN, "
    f"temperature {_TEMPERATURE:g}). A label is listed where another one gets more of the vote; the surest come first."
)
"""Which labels are probably wrong."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest others of every image."""

    cosines: np.ndarray
    """float32 [n, k], falling."""
    places: np.ndarray
    """Their rows, int64 [n, k]."""


@dataclass(frozen=True)
class Suspects:
    """Images whose label is probably wrong, the most suspicious first."""

    rows: np.ndarray
    """int64 [m]."""
    voted: np.ndarray
    """The class that the neighbours vote for, int64 [m]."""
    share: np.ndarray
    """Its share of the vote, float32 [m], in [0, 1]."""
    count: int
    """How many there are; the first of them are listed."""


def find_neighbours(values: np.ndarray) -> Neighbours:
    """Find the nearest others by the cosine of embeddings, float32 [n, D], n at least 2."""
    cosines, places = nearest_others(torch.from_numpy(values), _COUNT)
    return Neighbours(cosines.numpy(), places.numpy())


def find_suspects(neighbours: Neighbours, labels: np.ndarray, classes: int) -> Suspects:
    """Find labels with which the neighbours disagree.

    Args:
        neighbours: of every image.
        labels: int64 [n]; -1 where there is none.
        classes: number of classes.
    """
    own, most = np.zeros(len(labels), np.float32), np.zeros(len(labels), np.float32)
    voted = np.full(len(labels), -1)
    for first in range(0, len(labels) if classes > 1 else 0, _ROWS):
        some = slice(first, first + _ROWS)
        shares = _shares(neighbours, labels, classes, some)
        voted[some], most[some] = shares.argmax(axis=1), shares.max(axis=1)
        own[some] = shares[np.arange(len(shares)), np.maximum(labels[some], 0)]
    suspicious = np.flatnonzero((labels >= 0) & (most > own))
    order = suspicious[np.argsort(own[suspicious] - most[suspicious], kind="stable")][:_MOST]
    return Suspects(order, voted[order], most[order], len(suspicious))


def _shares(neighbours: Neighbours, labels: np.ndarray, classes: int, some: slice) -> np.ndarray:
    """The share of each class in the vote on some images, float32 [n, classes]; who has no label is silent."""
    near = labels[neighbours.places[some]]
    near[near < 0] = classes
    cosines, count = torch.from_numpy(neighbours.cosines[some]), near.shape[1]
    scores = vote(cosines, torch.from_numpy(near), classes + 1, k=count, temperature=_TEMPERATURE)[:, :classes]
    shares: np.ndarray = (scores / scores.sum(dim=1, keepdim=True).clamp_min(1e-12)).numpy()
    return shares
