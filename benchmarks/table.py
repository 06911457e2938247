"""Write the tables of docs/speed.md from the results: `python benchmarks/table.py results/benchmarks docs/speed.md`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

MEASURES = ("agreement", "squared pixel distance in a row", "KID")
ORDER = ("generation", "pretraining", "augmentation", "evaluation", "data")


def line(result: dict[str, Any]) -> str:
    """One row of the table."""
    spread = "" if result["low"] == result["high"] else f" ({result['low']:g} to {result['high']:g})"
    reached = "yes" if result["ratio"] >= result["goal"] else "**no**"
    quality = "; ".join(f"{name}: {shown(value)}" for name, value in result["quality"].items())
    sides = f"{result['ours']} against {result['theirs']}" if result["theirs"] else result["ours"]
    cells = (result["target"], f"{result['goal']:g}", f"**{result['ratio']:g}**{spread}", reached, sides)
    return "| " + " | ".join((*cells, result["floor"] or "-", quality or "-")) + " |"


def shown(value: Any) -> str:
    """A value of the column of qualities."""
    return ", ".join(f"{name} {part}" for name, part in value.items()) if isinstance(value, dict) else str(value)


def table(folder: Path) -> str:
    """Make the whole table from the JSON files in ``folder``."""
    head = ("target", "goal", "times better", "reached", "ours against theirs", "floor", "quality")
    files = [folder / f"{name}.json" for name in ORDER]
    results = [result for path in files if path.exists() for result in json.loads(path.read_text())]
    machine = results[0]["machine"]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *(line(result) for result in results)]
    where = f"{machine['cores']} cores of {machine['processor']}, torch {machine['torch']}"
    return "\n".join((*rows, "", f"Measured on {where}; median of the rounds, smallest and largest in brackets."))


def samplers(folder: Path) -> str:
    """Make the table of the samplers from samplers.json."""
    found = json.loads((folder / "samplers.json").read_text())
    heads = ("sampler", "passes", *MEASURES)
    rows = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in found["rows"]:
        measures = [f"{row[m]['mean']:.3f} ({row[m]['low']:.3f} to {row[m]['high']:.3f})" for m in MEASURES]
        rows.append("| " + " | ".join((row["sampler"], str(row["passes"]), *measures)) + " |")
    machine = found["machine"]
    where = f"{machine['cores']} cores of {machine['processor']}, torch {machine['torch']}"
    spread = f"mean over {found['parts']} parts of {found['anchors']} anchors, smallest and largest in brackets"
    return "\n".join((*rows, "", f"Measured on {where}; {spread}."))


def put(text: str, name: str, table: str) -> str:
    """Replace what stands between the marks called ``name``."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    return f"{text.partition(begin)[0]}{begin}\n{table}\n{end}{text.partition(end)[2]}"


def main() -> None:
    folder, page = Path(sys.argv[1]), Path(sys.argv[2])
    text = put(page.read_text(), "table", table(folder))
    if (folder / "samplers.json").exists():
        text = put(text, "samplers", samplers(folder))
    page.write_text(text)


if __name__ == "__main__":
    main()
