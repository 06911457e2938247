"""Pairs of images with key points, in the layouts of SPair-71k, PF-PASCAL and PF-WILLOW."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clsp import files
from clsp.errors import UserError

_WILLOW = 10
"""Key points of every pair of PF-WILLOW."""
_FIX = "give the folder that the data set's archive makes"


@dataclass(frozen=True)
class Pair:
    """Two images of one kind of thing, and points that are the same on both."""

    source: Path
    target: Path
    points: np.ndarray
    """Of the source, (x, y) in pixels of its file, float64 [P, 2]."""
    truth: np.ndarray
    """Of the target, likewise."""
    extent: float | None
    """The distance that PCK's alpha is a fraction of, in pixels of the target; None: the larger side of its image."""


def read_pairs(folder: Path, part: str = "test") -> list[Pair]:
    """Read the pairs of a benchmark.

    SPair-71k has ``PairAnnotation/PART/*.json`` beside ``JPEGImages/CATEGORY/``; alpha is a fraction of the box around
    the target's thing. PF-PASCAL has ``PART_pairs.csv`` (or ``PART_pairs_pf_pascal.csv``) with lists of coordinates in
    ``XA,YA,XB,YB``; alpha is a fraction of the image. PF-WILLOW has ten columns each; alpha is a fraction of the box
    around the target's key points.

    Args:
        folder: of the data set.
        part: ``test``, ``val`` or ``trn``, as the data set calls it.

    Raises:
        UserError: the folder has none of these layouts, or a file is damaged.
    """
    if (folder / "PairAnnotation" / part).is_dir():
        return list(_spair(folder, part))
    tables = sorted(path for path in folder.glob(f"{part}_pairs*.csv") if path.is_file())
    if not tables:
        raise UserError(
            f"--pairs {folder}: neither PairAnnotation/{part} (SPair-71k) nor {part}_pairs*.csv (PF-PASCAL, PF-WILLOW) "
            f"is there; {_FIX}"
        )
    with files.foreign(tables[0], _FIX, what="is no table of pairs"):
        rows = list(csv.reader(io.StringIO(files.read_text(tables[0], fix=_FIX))))
        read = _pascal if {"XA", "YA", "XB", "YB"} <= set(rows[0]) else _willow
        return [read(folder, rows[0], row) for row in rows[1:] if row]


def _spair(folder: Path, part: str) -> Iterator[Pair]:
    for path in sorted((folder / "PairAnnotation" / part).glob("*.json")):
        found = files.read_json(path, dict[str, Any], fix=_FIX)
        with files.foreign(path, _FIX, what="describes no pair"):
            images = folder / "JPEGImages" / _inner(found["category"])
            left, top, right, bottom = (float(value) for value in found["trg_bndbox"])
            yield Pair(
                images / _inner(found["src_imname"]),
                images / _inner(found["trg_imname"]),
                _points(found["src_kps"]),
                _points(found["trg_kps"]),
                max(right - left, bottom - top),
            )


def _pascal(folder: Path, head: list[str], row: list[str]) -> Pair:
    cells = dict(zip(head, row, strict=True))
    xs = {name: [float(value) for value in cells[name].split(";")] for name in ("XA", "YA", "XB", "YB")}
    points, truth = (_points(list(zip(xs[f"X{side}"], xs[f"Y{side}"], strict=True))) for side in "AB")
    return Pair(_image(folder, row[0]), _image(folder, row[1]), points, truth, None)


def _willow(folder: Path, head: list[str], row: list[str]) -> Pair:
    values = np.array([float(cell) for cell in row[2:]])
    if len(values) != 4 * _WILLOW:
        raise ValueError(f"{len(values)} numbers in place of {4 * _WILLOW}")
    points, truth = (_points(half.reshape(2, _WILLOW).T) for half in np.split(values, 2))
    return Pair(_image(folder, row[0]), _image(folder, row[1]), points, truth, float(np.ptp(truth, axis=0).max()))


def _image(folder: Path, name: str) -> Path:
    """An image by its name in a table, which may begin with the data set's own folder."""
    inner = Path(_inner(name))
    places = [folder / inner, folder / Path(*inner.parts[1:]), folder / "JPEGImages" / inner.name]
    return next((place for place in places if place.is_file()), places[0])


def _inner(name: object) -> str:
    """A name that stays below its folder.

    Raises:
        ValueError: it leads elsewhere.
    """
    path = Path(str(name))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"the name {name!r} leads out of the folder")
    return str(path)


def _points(values: Any) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 2 or not len(found) or not np.isfinite(found).all():
        raise ValueError(f"key points of shape {list(found.shape)}")
    return found
