"""What was found in the images: read from a run's findings, or searched where there are none."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from clsp import files
from clsp.evaluation.embeddings import Embeddings
from clsp.evaluation.findings import clusters, duplicates, outliers
from clsp.evaluation.findings.search import listed, nearest_others
from clsp.text import cell

Key = tuple[str, str]
"""Name and part of an image, as a table of findings writes them."""

_NEIGHBOURS = 10
"""Nearest others of each image that are looked at, as in a run."""


@dataclass(frozen=True)
class Found:
    """Clusters, near-duplicates and outliers; rows are places on the page."""

    cluster: np.ndarray
    """Every image's cluster, from 0 on, int64 [n]; the largest is the first."""
    typical: np.ndarray
    """1 - cosine to the centre of its cluster, float32 [n]."""
    pairs: np.ndarray
    """Rows of near-duplicates, int64 [P, 2], the closest first."""
    group: np.ndarray
    """Number of the group that chains of pairs connect, int64 [P]."""
    cosine: np.ndarray
    """Of their embeddings, float32 [P]."""
    outliers: np.ndarray
    """Rows of the images that lie farthest from all others, the farthest first, int64 [m]."""
    distance: np.ndarray
    """Their distances, float32 [m]."""
    outstanding: int
    """How many of them stand out; they are the first."""


def search_found(embeddings: Embeddings, rows: np.ndarray, *, seed: int) -> Found:
    """Search the images ``rows`` as a run does."""
    unit = F.normalize(torch.from_numpy(embeddings.values[rows]), dim=1)
    similar, near = nearest_others(unit, _NEIGHBOURS)
    copies = duplicates.find_duplicates(similar, near, files.Rows(embeddings.pixels, rows))
    far = outliers.find_outliers(similar)
    kinds = clusters.find_clusters(unit.numpy(), seed=seed)
    count = listed(far.count, len(rows))
    return Found(
        cluster=kinds.cluster,
        typical=kinds.distance,
        pairs=copies.places,
        group=copies.group,
        cosine=copies.similarity,
        outliers=far.places[:count],
        distance=far.distance[:count],
        outstanding=far.count,
    )


def read_found(folder: Path, embeddings: Embeddings, rows: np.ndarray) -> Found:
    """Read the files of a run's ``findings`` of the images ``rows``.

    Raises:
        UserError: one of them is damaged, or tells of other images.
    """
    keys = [(cell(name), part) for name, part in zip(embeddings.names, embeddings.parts)]
    place = {keys[row]: number for number, row in enumerate(rows)}
    cluster, typical = _clusters(folder / "clusters.csv", keys, rows)
    pairs, group, cosine = _duplicates(folder / "duplicates.csv", place)
    farthest, distance, outstanding = _outliers(folder / "outliers.csv", place)
    if len(rows) == len(embeddings):
        outstanding = max(outstanding, _outstanding(folder / "findings.json"))
    return Found(cluster, typical, pairs, group, cosine, farthest, distance, outstanding)


def _clusters(path: Path, keys: Sequence[Key], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each of ``rows``, and its distance from the centre; ``keys`` are those of all images."""
    lines = _lines(path)
    with files.foreign(path):
        if [(line["name"], line["part"]) for line in lines] != keys:
            raise ValueError("it tells of other images")
        cluster = np.array([int(line["cluster"]) - 1 for line in lines], np.int64)[rows]
        if not 0 <= cluster.min() <= cluster.max() < len(keys):
            raise ValueError("it names a cluster that there cannot be")
        return cluster, _finite([line["distance"] for line in lines])[rows]


def _duplicates(path: Path, place: Mapping[Key, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, group and cosine of the pairs whose images are on the page."""
    lines = _lines(path)
    with files.foreign(path):
        named = [((line["first"], line["first_part"]), (line["second"], line["second_part"])) for line in lines]
        here = [one in place and two in place for one, two in named]
        pairs = [(place[one], place[two]) for one, two in compress(named, here)]
        group = np.array([int(line["group"]) for line in compress(lines, here)], np.uint32)
        cosine = _finite([line["cosine"] for line in compress(lines, here)])
        return np.array(pairs, np.int64).reshape(-1, 2), group.astype(np.int64), cosine


def _outliers(path: Path, place: Mapping[Key, int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows and distances of the outliers that are on the page, and how many of them stand out."""
    lines = _lines(path)
    with files.foreign(path):
        here = [line for line in lines if (line["name"], line["part"]) in place]
        rows = np.array([place[line["name"], line["part"]] for line in here], np.int64)
        return rows, _finite([line["distance"] for line in here]), sum(line["stands_out"] == "yes" for line in here)


def _outstanding(path: Path) -> int:
    """How many images stand out in all; the table lists some of them."""
    found = files.read_json(path, dict[str, Any])
    with files.foreign(path):
        return int(found["outliers"]["count"])


def _finite(values: Sequence[str]) -> np.ndarray:
    """The values as float32, none of them NaN or infinite."""
    made = np.array([float(value) for value in values], np.float32)
    if not np.isfinite(made).all():
        raise ValueError("a value is no number")
    return made


def _lines(path: Path) -> list[dict[str, str]]:
    text = files.read_text(path)
    with files.foreign(path):
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
