"""Pairs of images that belong together, from a file: mined by an encoder (SePP), or known (two views of one place).

Alkhalefi, Leontidis and Zhong, arXiv 2306.16122, find pairs of different images with the same content before the
training and train on them as on two views: the arm METHOD+pairs+host. `clsp pairs` mines (`clsp.evaluation.pairs`).
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from clsp import console, files
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.positives.lists import OneOf
from clsp.positives.source import Draw, Material, Positive, Source
from clsp.settings import Incidental, settings
from clsp.text import cell

_OPTION = "pretrain.positive.pairs.file"


@dataclass(frozen=True)
class PairList:
    """Pairs of images; each holds in both directions."""

    places: np.ndarray
    """Dataset indices, int64 [P, 2]."""
    weights: np.ndarray
    """How strongly each pair counts, float32 [P] in [0, 1]."""

    @property
    def fingerprint(self) -> str:
        """A hash of all pairs (16 hex digits): the list's identity."""
        content = self.places.astype("<i8").tobytes() + self.weights.astype("<f4").tobytes()
        return hashlib.sha256(content).hexdigest()[:16]


@settings
class Pairs(Source):
    """The anchor's partner in a file of pairs."""

    weighted: ClassVar[bool] = True

    file: Annotated[str | None, Incidental] = None
    """A CSV file with the columns first and second, names of images, and perhaps weight; `clsp pairs` makes one. What
    stands in it counts, not where it lies."""

    def reads(self, names: Sequence[str]) -> dict[str, str]:
        """Return the fingerprint of the pairs."""
        return {"pairs": self._read(names).fingerprint}

    def build(self, material: Material, *, seed: int, device: torch.device) -> Draw:
        """Return what draws partners."""
        return Partners(material.pixels, material.ids, self._read(material.names), seed=seed, device=device)

    def _read(self, names: Sequence[str]) -> PairList:
        if self.file is None:
            raise UserError(f"positives 'pairs' need their file: --{_OPTION} FILE (clsp pairs makes one)")
        return read_pairs(self.file, names)


class Partners:
    """Draws a partner uniformly among those trained on; an image without one is its own.

    Args:
        pixels: the images trained on.
        ids: their dataset indices, int64 [N], sorted.
        pairs: the pairs.
        seed: names the choices.
        device: where the anchors are.
    """

    def __init__(self, pixels: Pixels, ids: np.ndarray, pairs: PairList, *, seed: int, device: torch.device) -> None:
        both = np.concatenate((pairs.places, pairs.places[:, ::-1]))
        weights = np.concatenate((pairs.weights, pairs.weights))
        there = np.isin(both, ids).all(axis=1)
        both, weights = np.searchsorted(ids, both[there]), weights[there]
        alone = np.setdiff1d(np.arange(len(ids)), both[:, 0])
        console.say(f"pairs: {len(ids) - len(alone)} of {len(ids)} images have a partner; the others are their own")
        both = np.concatenate((both, np.stack((alone, alone), axis=1)))
        weights = np.concatenate((weights, np.ones(len(alone), np.float32)))
        order = np.argsort(both[:, 0], kind="stable")
        counts = np.bincount(both[:, 0], minlength=len(ids))
        lists = (torch.from_numpy(part).to(device) for part in (both[order, 1], np.cumsum(counts) - counts, counts))
        self._lists = OneOf(pixels, *lists, seed=seed)
        self._weights, self._ids = torch.from_numpy(weights[order]).to(device), torch.from_numpy(ids).to(device)

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return a partner of each anchor, with the weight of its pair."""
        entries = self._lists.draw(positions, step)
        found = self._lists.flat[entries]
        return Positive(self._lists.pixels[found], weights=self._weights[entries], ids=self._ids[found])


def read_pairs(path: str | Path, names: Sequence[str]) -> PairList:
    """Read a CSV file with the columns ``first`` and ``second``, names of images, and perhaps ``weight``.

    Args:
        path: the file.
        names: names of all train images, by dataset index.

    Raises:
        UserError: the file cannot be read, lacks a column, holds a weight that is none, or no pair of it is among the
            train images. Pairs of which an image is missing are left out, and it is said.
    """
    index = {cell(name): place for place, name in enumerate(names)}  # as they are written
    index |= {name: place for place, name in enumerate(names)}
    with files.foreign(f"--{_OPTION} {path}", "give a CSV file with the columns first and second"):
        text = files.read_text(Path(path), fix="give a CSV file with the columns first and second")
        text = text.removeprefix("\ufeff")  # what spreadsheets write before UTF-8
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    if not rows or not {"first", "second"} <= rows[0].keys():
        raise UserError(
            f"--{_OPTION} {path}: needs a first line 'first,second' (and perhaps ',weight') and at least "
            "one pair of image names below it; 'clsp embed' writes the names of all images"
        )
    missing = [row for row in rows if not {row["first"], row["second"]} <= index.keys()]
    if missing:
        lost = next(name for name in (missing[0]["first"], missing[0]["second"]) if name not in index)
        told = f"'{lost}' is no train image" + (f"; they are named like '{names[0]}'" if names else "")
        if len(missing) == len(rows):
            raise UserError(f"--{_OPTION} {path}: no pair is among the images: {told}")
        console.say(f"pairs: {len(missing)} of {len(rows)} pairs are left out: {told}")
    found = [row for row in rows if {row["first"], row["second"]} <= index.keys()]
    places = np.array([[index[row["first"]], index[row["second"]]] for row in found], np.int64)
    return PairList(places, np.array([_weight(row, path) for row in found], np.float32))


def _weight(row: dict[str, str], path: str | Path) -> float:
    """Return the weight of a pair; 1 where the file has none."""
    text = row.get("weight")
    try:
        weight = float(text) if text is not None else 1.0
    except ValueError:
        weight = -1.0
    if not 0.0 <= weight <= 1.0:
        pair = f"{row['first']}, {row['second']}"
        raise UserError(f"--{_OPTION} {path}: weight '{text}' of {pair} must be between 0 and 1")
    return weight
