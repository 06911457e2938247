"""The page of a dense encoder: how well points are found, beside other features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsp.report.folder import mapping
from clsp.report.html import Html, join, paragraph, table
from clsp.report.numbers import fixed
from clsp.tasks.task import Article, Found

NAMES = {
    "same place": "no features: the same place",
    "random": "random weights",
    "before": "the encoder as it was",
    "trained": "trained here",
    "diffusion": "the diffusion model's decoder",
}
"""Rows in words."""


def article(found: Found, record: Found, folder: Path) -> Article:
    """What the page says of the encoder in ``folder``."""
    warps = {str(name): mapping(row) for name, row in mapping(found["warps"]).items()}
    said = f"Points of {found['tested']} that were turned, scaled and bent, whose truth is known exactly."
    sections = {"Warps": join([paragraph(said, "names"), _table(warps)])}
    if pairs := {str(name): mapping(row) for name, row in mapping(found.get("pairs")).items()}:
        said = f"Key points of {found.get('of_pairs')}."
        sections["Pairs of a benchmark"] = join([paragraph(said, "names"), _table(pairs)])
    return Article("Dense correspondence", _lead(warps), sections)


def _lead(rows: dict[str, dict[str, Any]]) -> str:
    name = next(name for name in ("trained", "before", "random") if name in rows)
    own, weights, place = (fixed(rows.get(row, {}).get("pck@0.1"), 1) for row in (name, "random", "same place"))
    return (
        f"{own} % of the points of warps are found within a tenth of the image by {NAMES[name]}; random weights find "
        f"{weights} %, and who guesses the same place finds {place} %."
    )


def _table(rows: dict[str, dict[str, Any]]) -> Html:
    keys = list(next(iter(rows.values())))
    lines = [[NAMES.get(name, name), *(f"{fixed(row[key], 2)} %" for key in keys)] for name, row in rows.items()]
    note = paragraph(
        "PCK: points that are found within this fraction of the larger side, by pairs of images.", "caption"
    )
    return join([table(["features", *keys], lines), note])
