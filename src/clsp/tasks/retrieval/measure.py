"""What a search finds: mean average precision and precision of the first results, by labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clsp.evaluation.measure import Measure
from clsp.evaluation.statistics import mean_at_random

_AT = (1, 10, 100)
"""Numbers of first results whose precision is told."""

Search = Callable[[int, int], np.ndarray]
"""Finds, for the number of a query and a number k, the places of the k best images, int64 [k]."""


def average_precision(hits: np.ndarray) -> float:
    """Average precision of ranked results: the mean, over the hits, of the fraction of hits up to there.

    It is MeCoQ's mAP@k for one query: hits that are not among the results do not count.

    Args:
        hits: whether each result is right, the best one first, bool [k].
    """
    ranks = np.flatnonzero(hits) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).mean()) if len(ranks) else 0.0


def measured(
    search: Search, labels: np.ndarray, asked: np.ndarray, *, first: int, protocol: str, name: str = "codes"
) -> Measure:
    """Let queries search, and rate what they find.

    Args:
        search: finds images.
        labels: of the images that are searched, int64 [N].
        asked: labels of the queries, int64 [Q].
        first: results that count.
        protocol: what is searched by whom.
        name: of the measure.
    """
    first = min(first, len(labels))
    hits = np.stack([labels[search(number, first)] == label for number, label in enumerate(asked)])
    each = np.array([average_precision(row) for row in hits])
    told = {f"precision@{k}": round(100 * float(hits[:, :k].mean()), 2) for k in _AT if k <= first}
    right = np.array([(labels == label).sum() for label in asked])
    chance = mean_at_random(right, len(labels), first)
    half = 1.96 * each.std(ddof=1) / len(each) ** 0.5 if len(each) > 1 else 0.0
    value, low, high = (
        round(100 * float(number), 2) for number in (each.mean(), each.mean() - half, each.mean() + half)
    )
    return Measure(
        name=name,
        title=name,
        quantity=f"mAP@{first}",
        metric="map",
        value=value,
        low=low,
        high=high,
        protocol=f"{protocol} (a random order finds {100 * chance:.1f} %)",
        details=told,
        each=each,
    )
