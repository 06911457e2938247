"""What the report reads from the folder of a comparison, and what it says about it in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from clsp.methods.config import LABELLED
from clsp.report.charts import Estimate, Point, series_of
from clsp.report.folder import Folder, mapping
from clsp.report.html import Html, element, join
from clsp.report.numbers import against, fixed, is_number

SCORES = {"linear": "Linear", "knn": "kNN"}
CURVES = {"knn": "Online kNN accuracy, %", "effective_rank": "Effective rank"}
FEW = 6
"""With more arms than this a colour says what kind an arm is of, not which one."""
BASE, WITH, WITHOUT = "base", "arm-0", "arm-1"
"""Colours of the baseline and, of many arms, of those with a generator and of those without."""


@dataclass(frozen=True)
class Comparison:
    """The numbers of a comparison, by arm."""

    folder: Folder

    @cached_property
    def result(self) -> dict[str, Any]:
        """What comparison.json holds."""
        return self.folder.json("comparison.json")

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """What it holds about each arm, in the order of the call."""
        return {str(row.get("arm")): row for row in map(mapping, self.result.get("arms") or ())}

    @property
    def baseline(self) -> str:
        """The arm with which the others are compared."""
        return str(self.result.get("baseline") or next(iter(self.rows), ""))

    @property
    def others(self) -> list[str]:
        """All arms but the baseline."""
        return [arm for arm in self.rows if arm != self.baseline]

    @property
    def seeds(self) -> int:
        """Runs of the arm that has most."""
        return max((int(row.get("seeds") or 0) for row in self.rows.values()), default=0)

    @property
    def many(self) -> bool:
        """Whether there are more arms than colours that can be told apart."""
        return len(self.rows) > FEW

    @cached_property
    def colours(self) -> dict[str, str]:
        """The CSS class of each arm: the baseline is grey."""
        if self.many:
            found = {arm: WITH if self.generated(arm) else WITHOUT for arm in self.others}
        else:
            found = {arm: f"arm-{index}" for index, arm in enumerate(self.others)}
        return found | {self.baseline: BASE}

    def score(self, arm: str, name: str) -> dict[str, Any]:
        """Mean and interval of an arm's accuracy."""
        return mapping(self.rows[arm].get(name))

    def gap(self, arm: str, name: str) -> dict[str, Any]:
        """Mean and interval of an arm's accuracy minus the baseline's, paired by seed; nothing for the baseline."""
        return mapping(mapping(mapping(self.rows[arm].get("versus")).get(self.baseline)).get(name))

    def cost(self, arm: str, part: str, unit: str) -> float:
        """The cost of a ``part`` (pretraining, generator) in a ``unit`` (seconds, flops)."""
        value = mapping(self.rows[arm].get("cost")).get(f"{part}_{unit}")
        return float(value) if is_number(value) else 0.0

    def generated(self, arm: str) -> bool:
        """Whether the arm needs a generator."""
        return self.cost(arm, "generator", "seconds") > 0 or self.cost(arm, "generator", "flops") > 0

    def sees_labels(self, arm: str) -> bool:
        """Whether the arm is trained with the labels: an upper bound, never a rival."""
        method, positives, *_ = [*arm.split("+"), ""]
        return method in LABELLED or positives == "class"

    def runs(self, arm: str, name: str) -> dict[str, float]:
        """The accuracy of every run of an arm, by seed."""
        return mapping(mapping(self.rows[arm].get("runs")).get(name))

    def estimates(self, name: str, *, gaps: bool = False) -> list[Estimate]:
        """The accuracies of all arms, or the differences of all but the baseline to it, for a chart."""
        found = []
        for arm in self.others if gaps else self.rows:
            value = self.gap(arm, name) if gaps else self.score(arm, name)
            low, high = value.get("low"), value.get("high")
            if is_number(value.get("mean")):
                known = is_number(low) and is_number(high)
                limits = (low, high) if known else (None, None)
                found.append(Estimate(arm, self.colours[arm], value["mean"], *limits))
        return found

    @cached_property
    def curves(self) -> dict[str, dict[str, list[list[Point]]]]:
        """The curves of every seed that has one, by name and arm."""
        found: dict[str, dict[str, list[list[Point]]]] = {name: {arm: [] for arm in self.rows} for name in CURVES}
        for arm in self.rows:
            for seed in self.runs(arm, "linear"):
                records = self.folder.lines(f"arms/{arm}/seed-{seed}/metrics.jsonl")
                for name in CURVES:
                    curve = series_of(records, name)
                    found[name][arm] += [curve] if curve else []
        return found

    def protocol(self, name: str) -> str:
        """How a score was measured, as the baseline's first run tells it."""
        return str(mapping(self.result.get("protocols")).get(name) or "")


def swatch(comparison: Comparison, arm: str) -> Html:
    """The name of an arm with a dot in its colour."""
    return join([element("span", class_=f"swatch {comparison.colours[arm]}"), arm])


def headline(comparison: Comparison) -> str:
    """The main result in plain words, by the linear probe and by kNN."""
    return " ".join(told for name in SCORES if (told := _sentence(comparison, name)))


def _sentence(comparison: Comparison, name: str) -> str:
    means = {arm: comparison.score(arm, name).get("mean") for arm in comparison.rows}
    scores = {arm: float(mean) for arm, mean in means.items() if is_number(mean)}
    if not scores:
        return ""
    base, word = comparison.baseline, f"{'kNN' if name == 'knn' else name} accuracy"
    rivals = {arm: score for arm, score in scores.items() if arm == base or not comparison.sees_labels(arm)}
    if not rivals:
        return ""
    best, *others = sorted(rivals, key=lambda arm: (rivals[arm], arm == base), reverse=True)
    reached = f"{fixed(rivals[best], 2)}\u00a0%"
    told = f"{best} reaches {reached} {word}"
    if best != base:
        told = f"In {word} {best} leads with {reached}, {_compared(base, comparison.gap(best, name))}"
    elif others:
        gap = _compared(base, comparison.gap(others[0], name))
        told = f"In {word} no arm is above the baseline {base} with {reached}; {others[0]} comes nearest, {gap}"
    bound = max(scores.keys() - rivals.keys(), key=lambda arm: scores[arm], default="")
    seen = f"; {bound}, which sees the labels, reaches {fixed(scores[bound], 2)}\u00a0%" if bound else ""
    return f"{told}{seen}."


def _compared(base: str, gap: Mapping[str, Any]) -> str:
    if not is_number(gap.get("mean")):
        return f"not compared with the baseline {base}"
    return against(f"the baseline {base}", gap, decimals=2, alone="one seed, so no interval")
