"""Accuracy where the classes are unequal: the mean over the classes, and what is taken for what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clsp.evaluation.measure import Measure, accuracy
from clsp.evaluation.statistics import wilson

UNEQUAL = 1.5
"""Test images of the largest class for each of the smallest from which on accuracy alone tells too little."""

_SHOWN = 100
"""Classes up to which the matrix of confusions is written down."""


def balanced(name: str) -> str:
    """The name of the balanced measure beside an accuracy's."""
    return f"{name}_balanced"


def rate(scores: np.ndarray, labels: np.ndarray, *, name: str, title: str, protocol: str) -> list[Measure]:
    """Rate class scores: accuracy, and where the classes are unequal their mean accuracy.

    Args:
        scores: float [N, C].
        labels: int64 [N] in [0, C).
        name: of the accuracy; the other measure is called ``NAME_balanced``.
        title: likewise.
        protocol: what was done.
    """
    found = accuracy(scores, labels, name=name, title=title, protocol=protocol)
    classes = scores.shape[1]
    chosen = np.argsort(-scores, axis=1, kind="stable")[:, 0]
    matrix = confusion(chosen, labels, classes)
    counts = matrix.sum(axis=1)
    details = {**found.details, "most_frequent_class": round(100 * float(counts.max() / counts.sum()), 2)}
    found = replace(found, details=details | ({"confusion": matrix.tolist()} if classes <= _SHOWN else {}))
    there = counts[counts > 0]
    if len(there) < 2 or there.max() < UNEQUAL * there.min():
        return [found]
    return [found, _balanced(matrix, chosen, labels, balanced(name), f"{title} balanced", protocol)]


def confusion(chosen: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Count how often an image of class i (row) was taken for class j (column): int64 [classes, classes].

    Args:
        chosen: classes that were chosen, int64 [N].
        labels: classes that are right, int64 [N].
        classes: number of classes.
    """
    return np.bincount(labels * classes + chosen, minlength=classes**2).reshape(classes, classes)


def mean_recall(matrix: np.ndarray) -> tuple[float, float, float]:
    """Return the mean over the classes of the fraction that was found, with its 95 % interval.

    The interval joins the classes' Wilson intervals by the squares of their distances (MOVER; Zou and Donner 2008), so
    that it holds for rare classes, too; of a single class it is Wilson's.

    Args:
        matrix: int64 [C, C] of `confusion`; classes without images do not count.
    """
    counts = matrix.sum(axis=1)
    there = np.flatnonzero(counts)
    found = matrix.diagonal()[there]
    fractions = found / counts[there]
    ends = [wilson(int(k), int(n)) for k, n in zip(found, counts[there], strict=True)]
    low, high = np.array(ends).T
    mean, weight = fractions.mean(), 1 / len(there)
    below, above = (weight * np.sqrt(np.square(gap).sum()) for gap in (fractions - low, high - fractions))
    return float(mean), float(mean - below), float(mean + above)


def _balanced(
    matrix: np.ndarray, chosen: np.ndarray, labels: np.ndarray, name: str, title: str, protocol: str
) -> Measure:
    counts = matrix.sum(axis=1)
    there = counts[counts > 0]
    value, low, high = (round(100 * number, 2) for number in mean_recall(matrix))
    weights = len(labels) / (len(there) * counts[labels])  # so that the mean over the images is that over the classes
    return Measure(
        name=name,
        title=title,
        value=value,
        low=low,
        high=high,
        protocol=f"the mean over the classes, of {there.min()} to {there.max()} test images, of the fraction found; "
        f"{protocol}",
        details={"classes": len(there), "smallest_class": int(there.min()), "largest_class": int(there.max())},
        each=(chosen == labels) * weights,
    )
