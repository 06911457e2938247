"""What tests read off the page of a comparison."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path


def arms_of(folder: Path) -> dict[str, dict]:
    return {row["arm"]: row for row in json.loads((folder / "comparison.json").read_text())["arms"]}


def chart(page: Path, label: str) -> str:
    """The drawing whose label begins with ``label``."""
    drawings = re.findall(r"<svg.*?</svg>", page.read_text(), re.DOTALL)
    return next(drawing for drawing in drawings if f'aria-label="{label}' in drawing)


def circles(drawing: str, class_: str) -> dict[str, tuple[float, float]]:
    """The middle of every circle of a class, by the arm that its title names."""
    found = re.findall(
        rf'<circle cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+" class="{class_} .*?"><title>(.*?)</title>', drawing
    )
    return {re.split(r": | without", unescape(title))[0]: (float(x), float(y)) for x, y, title in found}
