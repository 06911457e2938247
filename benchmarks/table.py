"""Write the table of docs/speed.md from the results: `python benchmarks/table.py results/benchmarks docs/speed.md`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
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


def main() -> None:
    folder, page = Path(sys.argv[1]), Path(sys.argv[2])
    text = page.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{table(folder)}\n{END}{after}")


if __name__ == "__main__":
    main()
