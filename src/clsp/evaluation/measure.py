"""What an evaluator finds: a number with its interval, its unit and its protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict
from typing_extensions import TypedDict

from clsp.evaluation.statistics import IMAGES, wilson

Better = Literal["higher", "lower"]


class Facts(TypedDict):
    """What is known of a measure, see `Measure.facts`."""

    title: str
    quantity: str
    unit: str
    better: str
    metric: str
    limits: str


class Metrics(TypedDict):
    """What ``metrics.json`` says: beside ``measures`` a record for each of them, by its name."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    measures: dict[str, Facts]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number that was measured of what was trained."""

    name: str
    """Its key in JSON: ``linear``."""
    title: str
    """What is measured, in a word or two, as the head of a column: ``kNN``."""
    value: float
    low: float | None = None
    """Lower end of its interval; None where it has none."""
    high: float | None = None
    """Upper end."""
    protocol: str
    """What was done, in one sentence."""
    quantity: str = "accuracy"
    """What the number is: ``accuracy``, ``mAP``."""
    unit: str = "%"
    """Its unit; empty for a bare number."""
    better: Better = "higher"
    """Which of two values is the better one."""
    metric: str = "top1"
    """The value's key in the measure's record."""
    limits: str = IMAGES
    """What ``low`` and ``high`` are."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further values for JSON: ``top5``, the number of draws."""
    each: np.ndarray | None = None
    """What every test image contributes, a fraction for percent: bool or float [N]; for paired differences."""

    def record(self) -> dict[str, Any]:
        """The values for JSON."""
        ends = {} if self.low is None else {"low": self.low, "high": self.high}
        return {self.metric: self.value, **self.details, **ends, "protocol": self.protocol}

    def facts(self) -> dict[str, str]:
        """What a table needs to know of it, whatever it is."""
        return {name: getattr(self, name) for name in ("title", "quantity", "unit", "better", "metric", "limits")}

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        ends = "" if self.low is None else f" ({self.limits} {self.low:.2f} to {self.high:.2f})"
        more = (
            f", {name.replace('_', ' ')} {value:g}"
            for name, value in self.details.items()
            if isinstance(value, int | float)
        )
        return f"{self.title} {self.quantity} {self.value:.2f}{unit}{ends}{''.join(more)}"


def records(measures: Iterable[Measure]) -> dict[str, Any]:
    """The JSON of some measures: what each is, and what each found."""
    measures = list(measures)
    return {"measures": {one.name: one.facts() for one in measures}} | {one.name: one.record() for one in measures}


def accuracy(scores: np.ndarray, labels: np.ndarray, *, name: str, title: str, protocol: str) -> Measure:
    """Rate class scores float [N, C] against labels int64 [N]: top-1 with its 95 % Wilson interval, and top-5.

    Top-5 says nothing of five classes or fewer, and is None there.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    correct = order[:, 0] == labels
    top5 = (order[:, :5] == labels[:, None]).any(axis=1).mean() if scores.shape[1] > 5 else None
    low, high = (round(100 * end, 2) for end in wilson(int(correct.sum()), len(correct)))
    return Measure(
        name=name,
        title=title,
        value=round(100 * float(correct.mean()), 2),
        low=low,
        high=high,
        protocol=protocol,
        details={"top5": None if top5 is None else round(100 * float(top5), 2)},
        each=correct,
    )


def difference(first: np.ndarray, second: np.ndarray, unit: str = "%") -> dict[str, float]:
    """Return the mean of first - second with its 95 % interval, paired over the test images (one run of each).

    Args:
        first: a measure of every test image, [N].
        second: likewise.
        unit: the measure's; of percent, the images' values are fractions.
    """
    gaps, scale = first.astype(float) - second.astype(float), 100 if unit == "%" else 1
    mean, ends = gaps.mean(), {"mean": gaps.mean()}
    if len(gaps) > 1:  # one image tells no interval
        spread = 1.96 * gaps.std(ddof=1) / len(gaps) ** 0.5
        ends |= {"low": mean - spread, "high": mean + spread}
    return {name: round(scale * float(value), 2) for name, value in ends.items()}
