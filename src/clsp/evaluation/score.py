"""An accuracy with its interval, and the difference of two, in percent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class Score:
    """How well one protocol does on the test images."""

    top1: float
    """Percent."""
    top5: float | None
    """Percent; None with five classes or fewer, where it says nothing."""
    low: float
    """Lower end of the 95 % Wilson interval of top1, over the test images, in percent."""
    high: float
    """Upper end."""
    protocol: str
    """What was done, in one sentence."""
    correct: np.ndarray
    """bool [N], whether each test image was right: for paired differences."""

    def record(self) -> dict[str, object]:
        """The values for metrics.json."""
        return {name: value for name, value in vars(self).items() if name != "correct"}


def score(scores: np.ndarray, labels: np.ndarray, protocol: str) -> Score:
    """Rate class scores float [N, C] against labels int64 [N]."""
    order = np.argsort(-scores, axis=1, kind="stable")
    correct = order[:, 0] == labels
    top5 = (order[:, :5] == labels[:, None]).any(axis=1).mean() if scores.shape[1] > 5 else None
    interval = binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    return Score(
        top1=round(100 * float(correct.mean()), 2),
        top5=None if top5 is None else round(100 * float(top5), 2),
        low=round(100 * float(interval.low), 2),
        high=round(100 * float(interval.high), 2),
        protocol=protocol,
        correct=correct,
    )


def difference(first: Score, second: Score) -> dict[str, float]:
    """Return first - second in points with its 95 % interval, paired over the test images (one run of each)."""
    gaps = first.correct.astype(float) - second.correct.astype(float)
    mean, spread = gaps.mean(), 1.96 * gaps.std(ddof=1) / len(gaps) ** 0.5
    return {
        name: round(100 * float(v), 2) for name, v in (("mean", mean), ("low", mean - spread), ("high", mean + spread))
    }
