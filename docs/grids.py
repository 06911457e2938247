"""Tables of the studies that experiments/grid.py makes: rows by columns, and the differences to the first row."""

from __future__ import annotations

import json
from statistics import mean
from typing import Any

from studies import STUDIES, about, result, rows


def names() -> list[str]:
    """The studies that are grids and say which of their measures are shown."""
    return [path.parent.name for path in sorted(STUDIES.glob("*/study.yaml")) if "measures" in about(path.parent.name)]


def tables(study: str) -> dict[str, str]:
    """A table for each measure that study.yaml names, by the measure's name."""
    found = result(study)["table"]
    return {name: f"{title}:\n\n{_table(found, name)}" for name, title in about(study)["measures"].items()}


def _table(table: dict[str, Any], measure: str) -> str:
    names = list(dict.fromkeys(row for column in table.values() for row in column))
    lines = [(name, *(_cell(column.get(name), measure) for column in table.values())) for name in names]
    return rows(("", *table), lines)


def _cell(found: dict[str, Any] | None, measure: str) -> str:
    """The mean, and the difference to the first row with its interval."""
    value = found and found["measures"].get(measure)
    if not found or not value:
        return "-"
    gap, digits = found["versus_first"].get(measure), 1 if abs(value["mean"]) >= 10 else 2
    text = f"{value['mean']:.{digits}f}"
    if not gap or gap.get("low") is None:
        return text
    return f"{text} ({gap['mean']:+.{digits}f}: {gap['low']:+.{digits}f} to {gap['high']:+.{digits}f})"


def follows(study: str) -> str:
    """Of every bank: how often its candidates follow their anchors by each description, the mean over the seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in json.loads((STUDIES / study / "follows.json").read_text()):
        found.setdefault(line["bank"], []).append(line)
    ways = ("pixels", "model", "encoder")
    lines = [(name, *(f"{mean(one[way] for one in runs):.2f}" for way in ways)) for name, runs in found.items()]
    return rows(("bank", "coarse pixels", "the diffusion model's features", "an encoder"), lines)
