"""Means over seeds with their intervals, and differences paired by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

IMAGES = "95 % interval over the test images"
"""What the ends are of a single run's measure, and of the difference of two."""
SEEDS = "95 % interval over the seeds"
"""What the ends are of a mean over several seeds."""

Seed = TypeVar("Seed", int, str)
"""As it is counted, or as JSON has it."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float | None
    """None with a single seed: one run has no spread."""
    high: float | None

    def record(self) -> dict[str, float | None]:
        """The values for comparison.json."""
        return dict(vars(self))


def mean_at_random(relevant: np.ndarray, total: int, first: int | None = None) -> float:
    """The mean of `random_average_precision` over queries, for each of which so many are ``relevant``, int64 [Q]."""
    numbers, times = np.unique(relevant, return_counts=True)
    return float(np.average([random_average_precision(int(one), total, first) for one in numbers], weights=times))


def random_average_precision(relevant: int, total: int, first: int | None = None) -> float:
    """Expected average precision of a random order: the mean, over the hits among the first, of precision at each.

    Of h hits among K places, each place is one with probability h / K, and the expected precision there follows from
    the h - 1 others; a query without a hit has 0. It is above the fraction of relevant ones, most where these are few.

    Args:
        relevant: what is to be found, R.
        total: what is ordered, N.
        first: places that count, K; None: all.
    """
    count = total if first is None else min(first, total)
    if not relevant or not count:
        return 0.0
    hits = count * relevant / total
    some = 1.0 if relevant > total - count else 1.0 - math.exp(_ways(total - relevant, count) - _ways(total, count))
    harmonic = float((1.0 / np.arange(1, count + 1)).sum())
    more = (count - harmonic) / (count - 1) * (hits - some) if count > 1 else 0.0
    return (harmonic * some + more) / count


def _ways(total: int, count: int) -> float:
    """Logarithm of the number of ways to choose some of a total."""
    return math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % t-interval of independent runs."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(round(mean, 3), None, None)
    half = float(_quantile(len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(round(mean, 3), round(mean - half, 3), round(mean + half, 3))


def welch(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Mean of first - second and its 95 % interval, of independent runs of unlike spread (Welch's t).

    Args:
        first: at least two values.
        second: at least two values.
    """
    mean = float(np.mean(first) - np.mean(second))
    parts = [float(np.var(values, ddof=1)) / len(values) for values in (first, second)]
    if not sum(parts):
        return Interval(round(mean, 6), round(mean, 6), round(mean, 6))
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (first, second)))
    half = _quantile(freedom) * sum(parts) ** 0.5
    return Interval(round(mean, 6), round(mean - half, 6), round(mean + half, 6))


def paired(first: dict[Seed, float], second: dict[Seed, float]) -> Interval | None:
    """Mean and interval of first - second over the seeds that both have; None where there is none.

    A seed names initial weights, order and views of both arms alike, so that their difference varies less than either.
    """
    common = sorted(first.keys() & second.keys())
    return interval([first[seed] - second[seed] for seed in common]) if common else None


def wilson(found: int, tried: int) -> tuple[float, float]:
    """The 95 % interval of a fraction of which ``found`` of ``tried`` were seen (Wilson's)."""
    from scipy.stats import binomtest

    ends = binomtest(found, tried).proportion_ci(method="wilson")
    return float(ends.low), float(ends.high)


def _quantile(freedom: float) -> float:
    """Half of the 95 % interval of Student's t."""
    from scipy import stats

    return float(stats.t.ppf(0.975, freedom))
