"""Read the committed studies, and lay out Markdown tables."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "studies"
SCORES = ("linear", "knn")


def result(study: str, part: str = "") -> dict[str, Any]:
    """The numbers of a study, or of one of its parts."""
    found: dict[str, Any] = json.loads((STUDIES / study / "result.json").read_text())
    return found["parts"][part] if part else found


def about(study: str) -> dict[str, Any]:
    """What study.yaml says."""
    found: dict[str, Any] = yaml.safe_load((STUDIES / study / "study.yaml").read_text(encoding="utf-8"))
    return found


def trained(study: str, part: str) -> dict[str, dict[str, Any]]:
    """The first seed's training of every arm, from runs.jsonl.gz."""
    return {run["arm"]: run for run in runs(study, part) if run["seed"] == 0}


def runs(study: str, part: str) -> list[dict[str, Any]]:
    """Every stage of a study or of one of its parts, from runs.jsonl.gz."""
    return [run for run in _lines(study, "runs") if run["part"] == (part or None)]


def cells(study: str) -> list[dict[str, Any]]:
    """What every cell of a grid measured, from cells.jsonl.gz."""
    return _lines(study, "cells")


def _lines(study: str, name: str) -> list[dict[str, Any]]:
    packed = (STUDIES / study / f"{name}.jsonl.gz").read_bytes()
    return [json.loads(line) for line in gzip.decompress(packed).decode().splitlines()]


def rows(heads: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    """Lay out a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ("---",) * len(heads), *lines))


def put(text: str, tables: dict[str, str]) -> str:
    """Replace what stands between the marks called as the tables are.

    Raises:
        ValueError: a page has no such marks.
    """
    for name, table in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin not in text or end not in text:
            raise ValueError(f"a page lacks the marks of the table {name!r}")
        text = f"{text.partition(begin)[0]}{begin}\n{table}\n{end}{text.partition(end)[2]}"
    return text
