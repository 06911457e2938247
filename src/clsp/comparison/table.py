"""The comparison as Markdown: the one table, and the differences of all pairs."""

from __future__ import annotations

from typing import Any

from clsp import console
from clsp.comparison.collect import SCORES


def table(result: dict[str, Any]) -> str:
    """Lay the comparison out as a Markdown table."""
    base = result["baseline"]
    lines = [
        f"| arm | seeds | linear | kNN | linear minus {base} | kNN minus {base} | pretraining | generator |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["arms"]:
        versus = row.get("versus", {}).get(base, {})
        cells = [row["arm"], str(row["seeds"]), *(shown(row[score]) for score in SCORES)]
        cells += [shown(versus[score], signed=True) if score in versus else "" for score in SCORES]
        cost = row["cost"]
        cells += [console.duration(cost["pretraining_seconds"]), console.duration(cost["generator_seconds"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pairs(result: dict[str, Any], score: str) -> str:
    """Lay the differences of all pairs out as a Markdown table: the row's arm minus the column's, paired by seed."""
    names = [row["arm"] for row in result["arms"]]
    lines = ["| | " + " | ".join(f"minus {name}" for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in result["arms"]:
        gaps = [row["versus"].get(name, {}).get(score) for name in names]
        lines.append("| " + " | ".join([row["arm"], *(shown(gap, signed=True) if gap else "" for gap in gaps)]) + " |")
    return "\n".join(lines)


def shown(value: dict[str, float | None], *, signed: bool = False) -> str:
    """Write a mean with its interval, where it has one."""
    mean, low, high = value["mean"], value["low"], value["high"]
    sign = "+" if signed else ""
    text = f"{mean:{sign}.2f}"
    return text if low is None else f"{text} ({low:{sign}.2f} to {high:{sign}.2f})"
