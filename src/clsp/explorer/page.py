"""The page: one HTML file that carries its pictures, data, styles and scripts, and needs no network."""

from __future__ import annotations

import base64
import html
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from string import Template
from typing import Any

import numpy as np

from clsp import console, files
from clsp.evaluation.findings.words import plural
from clsp.explorer.content import Content
from clsp.explorer.neighbours import RULE, Suspects, find_neighbours, find_suspects
from clsp.explorer.projection import Projection, project
from clsp.explorer.sprites import Sheets, draw_sheets
from clsp.text import cell

_IMAGES, _CANDIDATES = 20_000_000, 6_000_000
"""Bytes of the thumbnails of images, and of candidates; on the page they are a third more."""
_FOLDERS = 500
"""Folders that can be chosen by name at most; of more the search serves."""
_LIBRARY, _SCRIPTS = "vendor/regl-scatterplot.min.js", ("data", "cards", "map", "lists", "main")


@dataclass(frozen=True)
class Written:
    """What was written."""

    path: Path
    images: int
    bytes: int
    seconds: dict[str, float]
    """Time of each part of the work."""


def write_page(content: Content, out: Path) -> Written:
    """Write the page of ``content`` to ``out``."""
    clock = _Clock()
    projection = project(content.values, seed=content.seed)
    clock.lap("map")
    facts = _facts(content, projection)
    clock.lap("neighbours")
    console.say(f"explore: drawing {plural(len(content), 'thumbnail')}")
    sheets = [draw_sheets(len(content), content.pictures, content.embeddings.images.size, most=_IMAGES)]
    if len(content.anchors):
        count, size = len(content.anchors) * content.each, content.candidates(0, 1).shape[-1]
        sheets.append(draw_sheets(count, content.candidates, size, most=_CANDIDATES))
    clock.lap("thumbnails")
    text = _page(content.title, facts | {"sheets": [_packed_sheets(one) for one in sheets]})
    files.write_text(out, text)
    clock.lap("file")
    return Written(out, len(content), out.stat().st_size, clock.laps)


class _Clock:
    """The time of one part of the work after the other."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """Note the time since the last lap."""
        now = time.monotonic()
        self.laps[name], self._last = now - self._last, now


def _facts(content: Content, projection: Projection) -> dict[str, Any]:
    """What the page's script reads, without the pictures."""
    found, near = content.found, find_neighbours(content.values)
    classes = sorted({label for label in content.labels if label is not None}, key=_natural)
    number = {name: place for place, name in enumerate(classes)}
    labels = np.array([-1 if label is None else number[label] for label in content.labels], np.int64)
    suspects = find_suspects(near, labels, len(classes))
    columns = {
        "label": _column(classes, labels),
        "part": _category(content.parts),
        "folder": _folders(content.names),
        "cluster": _column([str(one + 1) for one in range(int(found.cluster.max(initial=-1)) + 1)], found.cluster),
    }
    return {
        "title": content.title,
        "lead": _lead(content, suspects if classes else None),
        "notes": _notes(content, projection),
        "rule": RULE,
        "names": content.names,
        "columns": columns,
        "clusters": _cluster_names(found.cluster, content.labels),
        "cells": _cells([*content.names, *classes]),
        "x": _packed(np.round((projection.points[:, 0] + 1) / 2 * 65_535), np.uint16),
        "y": _packed(np.round((projection.points[:, 1] + 1) / 2 * 65_535), np.uint16),
        "near": _packed(near.places, np.uint32),
        "cosines": _packed(near.cosines, np.float32),
        "typical": _packed(found.typical, np.float32),
        "pairs": _packed(found.pairs, np.uint32),
        "groups": _packed(found.group, np.uint32),
        "pair_cosines": _packed(found.cosine, np.float32),
        "outliers": _packed(found.outliers, np.uint32),
        "distances": _packed(found.distance, np.float32),
        "outstanding": found.outstanding,
        "suspects": _packed(suspects.rows, np.uint32),
        "voted": _packed(suspects.voted, np.uint32),
        "shares": _packed(suspects.share, np.float32),
        "anchors": _packed(content.anchors, np.uint32),
        "each": content.each,
    }


def _lead(content: Content, suspects: Suspects | None) -> str:
    """What there is to look at, in a sentence."""
    found = content.found
    told = [
        plural(int(found.cluster.max(initial=-1)) + 1, "cluster"),
        f"{plural(len(found.pairs), 'pair')} of near-duplicates" if len(found.pairs) else "no near-duplicates",
        plural(found.outstanding, "image that stands out", "images that stand out")
        if found.outstanding
        else "no outliers",
    ]
    if suspects is not None and suspects.count:
        listed = (
            f", of which the surest {len(suspects.rows):,} are listed" if suspects.count > len(suspects.rows) else ""
        )
        told.append(f"{plural(suspects.count, 'label')} that the neighbours do not share{listed}")
    return f"{plural(len(content), 'image')}: {', '.join(told)}."


def _notes(content: Content, projection: Projection) -> list[str]:
    """How the map was made, and what the page leaves out."""
    notes = [
        f"Near points of the map have similar embeddings; distances between far groups mean little. It is "
        f"{projection.method}."
    ]
    if len(content) < len(content.embeddings):
        notes.append(f"Shown: {len(content):,} of {len(content.embeddings):,} images, chosen at random by the seed.")
    if content.bank is not None:
        notes.append(f"{plural(len(content.anchors), 'anchor')} with synthetic candidates.")
    return notes


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by their value, before names."""
    return (0, int(name), name) if name.isdecimal() and name.isascii() and len(name) < 300 else (1, 0.0, name)


def _column(values: Sequence[str], codes: np.ndarray) -> dict[str, Any]:
    """A column of few different values: each image has the number of its own, or -1."""
    return {"values": list(values), "codes": _packed(codes, np.int32)}


def _category(entries: Sequence[str]) -> dict[str, Any]:
    values = sorted(set(entries), key=_natural)
    number = {value: place for place, value in enumerate(values)}
    return _column(values, np.array([number[entry] for entry in entries], np.int64))


def _folders(names: Sequence[str]) -> dict[str, Any]:
    """The folder of each name: whole paths, or their first parts where there are too many of those."""
    paths = [PurePosixPath(name).parent.parts for name in names]
    for depth in range(max(map(len, paths), default=0), 0, -1):
        entries = ["/".join(path[:depth]) or "." for path in paths]
        if len(set(entries)) <= _FOLDERS:
            return _category(entries)
    return _category(["."] * len(names))


def _cluster_names(cluster: np.ndarray, labels: Sequence[str | None]) -> list[str]:
    """What is said of each cluster: its most frequent label, nothing where it has none."""
    inside: dict[int, Counter[str]] = {}
    for number, label in zip(cluster.tolist(), labels, strict=True):
        if label is not None:
            inside.setdefault(number, Counter())[label] += 1
    told = []
    for number in range(int(cluster.max(initial=-1)) + 1):
        counts = inside.get(number, Counter())
        most = max(counts.items(), key=lambda item: (item[1], item[0]), default=None)
        told.append(f"most often {most[0]} ({100 * most[1] / counts.total():.0f} %)" if most else "")
    return told


def _cells(texts: Iterable[str]) -> list[tuple[str, str]]:
    """What a spreadsheet would compute, and what the CSV file says instead."""
    return [(text, made) for text in dict.fromkeys(texts) if (made := cell(text)) != text]


def _packed(values: np.ndarray, kind: type[np.generic]) -> str:
    """Numbers, little-endian, in base64."""
    return base64.b64encode(values.astype(np.dtype(kind).newbyteorder("<")).tobytes()).decode()


def _packed_sheets(sheets: Sheets) -> dict[str, Any]:
    pictures = [base64.b64encode(sheet).decode() for sheet in sheets.sheets]
    layout = {"side": sheets.side, "cell": sheets.cell, "columns": sheets.columns, "heights": sheets.heights}
    return {**layout, "pictures": pictures}


def _page(title: str, facts: dict[str, Any]) -> str:
    assets = resources.files("clsp.explorer")
    skeleton, css = (assets.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css"))
    scripts = "\n".join(assets.joinpath(f"{name}.js").read_text("utf-8") for name in _SCRIPTS)
    data = json.dumps(facts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")  # no text ends the block
    library = assets.joinpath(_LIBRARY).read_text("utf-8")
    return Template(skeleton).substitute(title=html.escape(title), css=css, library=library, js=scripts, data=data)
