"""What the report reads from the folder of a study, and what it says about it in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from clsp.evaluation.balance import balanced
from clsp.evaluation.statistics import SEEDS
from clsp.report.charts import Estimate, Point
from clsp.report.curves import series_of
from clsp.report.folder import Folder, mapping
from clsp.report.html import Html, element, join
from clsp.report.numbers import against, fixed, is_number, words

FEW = 6
"""With more arms than this a colour says what kind an arm is of, not which one."""
BASE, WITH, WITHOUT = "base", "arm-0", "arm-1"
"""Colours of the baseline and, of many arms, of those with a generator and of those without."""
USUAL = {"quantity": "accuracy", "unit": "%", "better": "higher", "metric": "top1"}
"""What an older version's measures are, which it did not write down."""


@dataclass(frozen=True)
class Measured:
    """What a measure is."""

    name: str
    title: str
    """As the head of a column, with a capital letter: ``Linear``."""
    quantity: str
    unit: str
    better: str
    metric: str

    @property
    def told(self) -> str:
        """Its title and quantity: ``Linear accuracy``."""
        return f"{self.title} {self.quantity}".rstrip()

    @property
    def inside(self) -> str:
        """The same within a sentence: ``linear accuracy``, ``kNN accuracy``."""
        return self.told if self.title[1:] != self.title[1:].lower() else self.told[:1].lower() + self.told[1:]

    @property
    def head(self) -> str:
        """The same with its unit, and that less is better where it is."""
        return self.told + (f", {self.unit}" if self.unit else "") + (", lower is better" if self.sign < 0 else "")

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return -1 if self.better == "lower" else 1

    def value(self, number: object) -> str:
        """A value with its unit."""
        return f"{fixed(number)}\u00a0{self.unit}".rstrip("\u00a0")


@dataclass(frozen=True)
class Study:
    """The numbers of a study, by arm and measure; it knows no measure by name."""

    folder: Folder

    @cached_property
    def result(self) -> dict[str, Any]:
        """What comparison.json holds."""
        return self.folder.json("comparison.json")

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """What it holds about each arm, in the order of the call; of a study that has not ended, the arms alone."""
        known = {str(row.get("arm")): row for row in map(mapping, self.result.get("arms") or ())}
        return known or {path.name: {} for path in sorted(self.folder.path.glob("arms/*")) if path.is_dir()}

    @cached_property
    def measures(self) -> dict[str, Measured]:
        """What was measured, in the table's order."""
        known = mapping(self.result.get("measures")) or {name: {} for name in mapping(self.result.get("protocols"))}
        found = {}
        for name, facts in known.items():
            given = {"title": name, **USUAL} | {key: str(value) for key, value in mapping(facts).items()}
            found[name] = Measured(name, words(given["title"]), *(given[key] for key in USUAL))
        return {name: one for name, one in found.items() if any(name in row for row in self.rows.values())}

    @cached_property
    def telling(self) -> dict[str, Measured]:
        """The measures for a first screen: where classes are unequal the balanced accuracy stands for the other one."""
        return {name: one for name, one in self.measures.items() if balanced(name) not in self.measures}

    @property
    def baseline(self) -> str:
        """The arm with which the others are compared."""
        return str(self.result.get("baseline") or next(iter(self.rows), ""))

    @property
    def main(self) -> str:
        """The arm whose encoder a user takes away."""
        return str(self.folder.evaluation.get("arm") or next(iter(self.rows), ""))

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
        """The CSS class of each arm: the baseline is grey where there are others."""
        if self.many:
            found = {arm: WITH if self.generated(arm) else WITHOUT for arm in self.others}
        else:
            found = {arm: f"arm-{index}" for index, arm in enumerate(self.others)}
        return found | {self.baseline: BASE if self.others else WITH}

    def score(self, arm: str, name: str) -> dict[str, Any]:
        """Mean and interval of a measure of an arm."""
        return mapping(self.rows[arm].get(name))

    def gap(self, arm: str, name: str, other: str | None = None) -> dict[str, Any]:
        """Mean and interval of an arm's measure minus another's (default: the baseline's); nothing for the same arm."""
        return mapping(mapping(mapping(self.rows[arm].get("versus")).get(other or self.baseline)).get(name))

    def limits(self, *names: str) -> str:
        """What the intervals of some measures are, each kind once; nothing where there are none."""
        known = [self.score(arm, name) for name in names for arm in self.rows]
        kinds = (str(found.get("limits") or SEEDS) for found in known if is_number(found.get("low")))
        return " or ".join(dict.fromkeys(kinds))

    def cost(self, arm: str, part: str, unit: str) -> float:
        """The cost of a ``part`` (pretraining, generator) in a ``unit`` (seconds, flops)."""
        value = mapping(self.rows[arm].get("cost")).get(f"{part}_{unit}")
        return float(value) if is_number(value) else 0.0

    def generated(self, arm: str) -> bool:
        """Whether the arm needs a generator."""
        return self.cost(arm, "generator", "seconds") > 0 or self.cost(arm, "generator", "flops") > 0

    def sees_labels(self, arm: str) -> bool:
        """Whether the arm is trained with the labels: an upper bound, never a rival."""
        return bool(self.rows[arm].get("sees_labels"))

    def runs(self, arm: str, name: str) -> dict[str, float]:
        """A measure of every run of an arm, by seed."""
        return mapping(mapping(self.rows[arm].get("runs")).get(name))

    def estimates(self, name: str, *, gaps: bool = False) -> list[Estimate]:
        """A measure of all arms, or the differences of all but the baseline to it, for a chart."""
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
    def records(self) -> dict[str, list[list[dict[str, Any]]]]:
        """What every run of each arm wrote down while it was trained."""
        paths = {arm: sorted(self.folder.path.glob(f"arms/{arm}/seed-*/metrics.jsonl")) for arm in self.rows}
        return {
            arm: [self.folder.lines(path.relative_to(self.folder.path).as_posix()) for path in found]
            for arm, found in paths.items()
        }

    def curves(self, key: str) -> dict[str, list[list[Point]]]:
        """The curves of every run that has one, by arm."""
        found = {arm: [series_of(lines, key) for lines in runs] for arm, runs in self.records.items()}
        return {arm: [curve for curve in curves if curve] for arm, curves in found.items()}

    def protocol(self, name: str) -> str:
        """What was done to measure, as the baseline's first run tells it."""
        return str(mapping(self.result.get("protocols")).get(name) or "")


def swatch(study: Study, arm: str) -> Html:
    """The name of an arm with a dot in its colour."""
    return join([element("span", class_=f"swatch {study.colours[arm]}"), arm])


def headline(study: Study) -> str:
    """The main result in plain words, by the first two telling measures."""
    if not study.result:
        old = "The run is of an older version; its numbers are in evaluation/metrics.json."
        return old if study.folder.evaluation else "Evaluation: not run."
    told = [sentence for one in list(study.telling.values())[:2] if (sentence := _sentence(study, one))]
    skipped = str(study.result.get("skipped") or "no result").rstrip(".")
    return " ".join(told) or f"Nothing was measured: {skipped}."


def _sentence(study: Study, one: Measured) -> str:
    means = {arm: study.score(arm, one.name).get("mean") for arm in study.rows}
    scores = {arm: float(mean) for arm, mean in means.items() if is_number(mean)}
    base, word = study.baseline, one.inside
    rivals = {arm: score for arm, score in scores.items() if arm == base or not study.sees_labels(arm)}
    if not rivals:
        return ""
    best, *others = sorted(rivals, key=lambda arm: (one.sign * rivals[arm], arm == base), reverse=True)
    told = f"{best} reaches {one.value(rivals[best])} {word}"
    if best != base:
        told = f"In {word} {best} leads with {one.value(rivals[best])}, {_compared(study, one, best)}"
    elif others:
        gap = _compared(study, one, others[0])
        told = f"In {word} no arm is better than the baseline {base} with {one.value(rivals[best])}"
        told += f"; {others[0]} comes nearest, {gap}"
    bound = max(scores.keys() - rivals.keys(), key=lambda arm: one.sign * scores[arm], default="")
    seen = f"; {bound}, which sees the labels, reaches {one.value(scores[bound])}" if bound else ""
    return f"{told}{seen}."


def _compared(study: Study, one: Measured, arm: str) -> str:
    gap: Mapping[str, Any] = study.gap(arm, one.name)
    if not is_number(gap.get("mean")):
        return f"not compared with the baseline {study.baseline}"
    return against(f"the baseline {study.baseline}", gap, unit=one.unit, alone="one seed, so no interval")
