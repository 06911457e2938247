"""A command in rows and columns: every way to train in every condition, with every seed, as a user would type it.

    python experiments/grid.py --plan experiments/grids/noisy-labels.yaml --work WORK --out studies/tasks-noisy-labels

The plan names the command, what is made before it (encoders, banks), and the options of every row and column. What is
finished in OUT/runs is not repeated; what failed is said at the end, and tried again by the next call. OUT/result.json
holds the mean of every measure with its interval over the seeds, and the differences to the first row, paired by seed,
and to other rows that the plan names as controls of a row;
OUT/cells.jsonl.gz keeps what every cell measured, and brings OUT/runs back where that is gone. Several processes share
the work: --part 0/2 and --part 1/2.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from trials import clsp, of_part

from clsp import files
from clsp.evaluation.statistics import interval, paired

CELLS = "cells.jsonl.gz"
"""Of a study: a line for each cell."""


@dataclass(frozen=True)
class Cell:
    """A row in a column, with a seed."""

    row: str
    column: str
    seed: int

    @property
    def name(self) -> str:
        return "--".join((self.row, self.column, str(self.seed))).replace(" ", "-").replace("/", "-")


@dataclass(frozen=True)
class Grid:
    """The plan of the YAML file, and where its work lies."""

    plan: dict[str, Any]
    work: Path
    out: Path

    def cells(self) -> Iterator[Cell]:
        for seed in range(self.plan["seeds"]):
            for column, row in itertools.product(self.plan["columns"], self.plan["rows"]):
                yield Cell(row, column, seed)

    def finish(self, cell: Cell) -> bool:
        """Run a cell that is not finished, and write the table anew; False: the cell failed, and the others go on."""
        if not self.path(cell).exists():
            try:
                self.run(cell)
            except subprocess.CalledProcessError:
                return False
        self.write()
        return True

    def write(self) -> None:
        """Write the table of what is finished, and beside it what every cell measured."""
        runs = [files.read_json(self.path(cell)) for cell in self.cells() if self.path(cell).exists()]
        lines = "".join(json.dumps(run, separators=(",", ":")) + "\n" for run in runs)
        with files.atomic(self.out / CELLS) as file:
            file.write(gzip.compress(lines.encode(), mtime=0))
        files.write_json(self.out / "result.json", collected(self.plan, runs))

    def restore(self) -> None:
        """Bring back what is finished, of a checkout that has what was measured alone."""
        for run in cells_of(self.out):
            path = self.path(Cell(run["row"], run["column"], run["seed"]))
            if not path.exists():
                files.write_json(path, run)

    def run(self, cell: Cell) -> None:
        """Train a cell, and keep what was measured."""
        places = self.plan["columns"][cell.column], self.plan["rows"][cell.row]
        options = {**self.plan["common"], **places[0], **places[1], "seed": cell.seed}
        options = {name: self.of_column(value, cell.column) for name, value in options.items()}
        for value in options.values():
            self.prepare(str(value), cell.seed)
        place = self.work / cell.name
        self.clsp(self.plan["command"], {"data": self.plan.get("data"), **options, "out": place}, cell.seed)
        found = self.measured(place / self.plan.get("measures", "metrics.json"))
        files.write_json(self.path(cell), {"row": cell.row, "column": cell.column, "seed": cell.seed, **found})

    def of_column(self, value: Any, column: str) -> Any:
        """An option's value, of one that says it for each column."""
        said = isinstance(value, dict) and value.keys() == self.plan["columns"].keys()
        return value[column] if said else value

    def measured(self, path: Path) -> dict[str, Any]:
        """What is kept of a file of measures; of a log the last values, and their curves."""
        if path.suffix == ".jsonl":
            curves = self.curves(path)
            return {"values": {name: points[-1][1] for name, points in curves.items()}, "curves": curves}
        numbers = _numbers(files.read_json(path))
        return {"values": {name: number for name, number in numbers if name in self.plan["keep"]}}

    def curves(self, log: Path) -> dict[str, list[tuple[int, float]]]:
        """The kept values of a log with their steps, by name."""
        found: dict[str, list[tuple[int, float]]] = {}
        for line in files.read_jsonl(log):
            for name in self.plan["keep"]:
                if line.get(name) is not None:
                    found.setdefault(name, []).append((line["step"], round(line[name], 4)))
        return found

    def prepare(self, text: str, seed: int) -> None:
        """Make what an option names, such as ``{encoder}``, before it is used."""
        for name, words in self.plan.get("before", {}).items():
            if f"{{{name}}}" in text:
                for value in words.values():
                    self.prepare(str(value), seed)
                options = {key: value for key, value in words.items() if key != "command"}
                self.clsp(words["command"], {**options, "seed": seed, "out": self.made(name, seed)}, seed)

    def made(self, name: str, seed: int) -> Path:
        """Where it lies; a name with an ending is a file."""
        return self.work / f"{Path(name).stem}-{seed}{Path(name).suffix}"

    def clsp(self, command: str, options: dict[str, Any], seed: int) -> None:
        places = {name: str(self.made(name, seed)) for name in self.plan.get("before", {})}
        clsp(command, {key: _placed(value, places) for key, value in options.items()})

    def path(self, cell: Cell) -> Path:
        return self.out / "runs" / f"{cell.name}.json"


def cells_of(study: Path) -> list[dict[str, Any]]:
    """What every cell of a study measured; nothing where none is kept."""
    path = study / CELLS
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()] if path.exists() else []


def collected(plan: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What was measured so far: by column, row and measure."""
    first, table = next(iter(plan["rows"])), dict[str, Any]()
    for column, row in itertools.product(plan["columns"], plan["rows"]):
        mine, others = (_by_measure(runs, column, name) for name in (row, first))
        measures = {name: interval(list(values.values())).record() for name, values in mine.items()}
        gaps = {name: gap.record() for name in mine if (gap := paired(mine[name], others.get(name, {})))}
        if mine:
            table.setdefault(column, {})[row] = {"measures": measures, "versus_first": gaps if row != first else {}}
            for control in plan.get("controls", {}).get(row, ()):
                known = _by_measure(runs, column, control)
                found = {name: gap.record() for name in mine if (gap := paired(mine[name], known.get(name, {})))}
                table[column][row].setdefault("versus", {})[control] = found
    return {"plan": plan, "table": table}


def _by_measure(runs: list[dict[str, Any]], column: str, row: str) -> dict[str, dict[str, float]]:
    """The values of a row in a column, by measure and seed."""
    found: dict[str, dict[str, float]] = {}
    for run in runs:
        if (run["column"], run["row"]) == (column, row):
            for name, value in run["values"].items():
                found.setdefault(name, {})[str(run["seed"])] = value
    return found


def _numbers(found: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of nested mappings, by their dotted names."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)


def _placed(value: Any, places: dict[str, str]) -> Any:
    """A value, with the place in place of its name."""
    return places.get(value.strip("{}"), value) if isinstance(value, str) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--plan", "--work", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--part", default="0/1", help="I/N: this process takes every N-th cell")
    given = parser.parse_args()
    grid = Grid(yaml.safe_load(given.plan.read_text()), given.work, given.out)
    grid.restore()
    failed = [cell.name for cell in of_part(grid.cells(), given.part) if not grid.finish(cell)]
    if failed:
        sys.exit(f"failed, and left out of the table: {', '.join(failed)}")


if __name__ == "__main__":
    main()
