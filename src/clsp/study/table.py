"""The one table of a study, as plain text and as Markdown; it is made of measures and knows none by name."""

from __future__ import annotations

from typing import Any

from clsp import console
from clsp.tabular import markdown, plain

Rows = list[list[str]]


def text(result: dict[str, Any]) -> str:
    """The table for a screen: the arms with their measures, and below them the differences that are told first."""
    if not result["measures"]:
        return str(result.get("skipped", "nothing was measured"))
    parts = [plain(*values(result)), plain(*gaps(result))]
    return "\n\n".join(part for part in parts if part)


def document(result: dict[str, Any]) -> str:
    """The comparison as Markdown: the one table, the protocols, and the differences of all pairs."""
    head, rows = values(result)
    base, measures = result["baseline"], result["measures"]
    if len(rows) > 1:
        # The costs come last, behind the differences to the baseline.
        head[-2:-2] = [f"{facts['title']} minus {base}" for facts in measures.values()]
        for cells, row in zip(rows, result["arms"], strict=True):
            versus = row["versus"].get(base, {})
            cells[-2:-2] = [shown(versus.get(name), signed=True) for name in measures]
    protocols = [f"{name}: {protocol}" for name, protocol in result["protocols"].items()]
    told = measures if len(rows) > 1 else ()
    each = [f"{name}, each row minus each column:\n\n{markdown(*pairs(result, name))}" for name in told]
    skipped = [result["skipped"]] if "skipped" in result else []
    return "\n\n".join([markdown(head, rows), *skipped, *protocols, *each]) + "\n"


def values(result: dict[str, Any]) -> tuple[list[str], Rows]:
    """Head and rows of the table: one row an arm, one column a measure, then the costs."""
    measures = result["measures"]
    rows = []
    for row in result["arms"]:
        times = [console.duration(row["cost"][f"{part}_seconds"]) for part in ("pretraining", "generator")]
        rows.append([row["arm"], str(row["seeds"]), *(shown(row.get(name)) for name in measures), *times])
    return ["arm", "seeds", *map(heading, measures.values()), "pretraining", "generator"], rows


def heading(facts: dict[str, str]) -> str:
    """The head of a measure's column: its unit is told unless it is percent, and that less is better where it is."""
    unit = "" if facts["unit"] in ("%", "") else f", {facts['unit']}"
    return facts["title"] + unit + (", lower is better" if facts["better"] == "lower" else "")


def gaps(result: dict[str, Any]) -> tuple[list[str], Rows]:
    """Head and rows of the differences that are told first."""
    arms = {row["arm"]: row for row in result["arms"]}
    rows = []
    for first, second in result["compared"]:
        found = arms[first]["versus"].get(second, {})
        rows.append([f"{first} minus {second}", *(shown(found.get(name), signed=True) for name in result["measures"])])
    return ["difference", *(facts["title"] for facts in result["measures"].values())], rows


def pairs(result: dict[str, Any], name: str) -> tuple[list[str], Rows]:
    """Head and rows of the differences of all pairs in one measure: the row's arm minus the column's."""
    names = [row["arm"] for row in result["arms"]]
    rows = []
    for row in result["arms"]:
        found = [row["versus"].get(other, {}).get(name) for other in names]
        rows.append([row["arm"], *(shown(gap, signed=True) for gap in found)])
    return ["", *(f"minus {other}" for other in names)], rows


def shown(value: dict[str, Any] | None, *, signed: bool = False) -> str:
    """Write a mean with its interval, where it has one; nothing where it is missing."""
    if value is None:
        return ""
    mean, low, high = value["mean"], value["low"], value["high"]
    sign = "+" if signed else ""
    text = f"{mean:{sign}.2f}"
    return text if low is None else f"{text} ({low:{sign}.2f} to {high:{sign}.2f})"
