"""Tables of the studies that experiments/grid.py makes: rows by columns, and the differences to the first row."""

from __future__ import annotations

import json
from statistics import mean
from typing import Any

from studies import STUDIES, about, cells, result, rows


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


def seed_by_seed(study: str, row: str, control: str) -> str:
    """The differences of a row to another, seed by seed, where two seeds have no interval worth the name."""
    found = cells(study)
    table, measures = result(study)["table"], about(study)["measures"]
    seeds = sorted({cell["seed"] for cell in found})
    values = {(cell["row"], cell["column"], cell["seed"]): cell["values"] for cell in found}
    lines = []
    for name, title in measures.items():
        gaps = (
            (values[row, column, seed][name] - values[control, column, seed][name] for seed in seeds)
            for column in table
        )
        lines.append((title, *(" and ".join(f"{round(gap, 1) + 0.0:+.1f}" for gap in one) for one in gaps)))
    return rows(("", *table), lines)


def follows(study: str) -> str:
    """Of every bank: how often its candidates follow their anchors by each description, the mean over the seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in json.loads((STUDIES / study / "follows.json").read_text()):
        found.setdefault(line["bank"], []).append(line)
    ways = ("pixels", "model", "encoder")
    lines = [(name, *(f"{mean(one[way] for one in runs):.2f}" for way in ways)) for name, runs in found.items()]
    return rows(("bank", "coarse pixels", "the diffusion model's features", "an encoder"), lines)
