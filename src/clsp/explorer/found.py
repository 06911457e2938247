"""What was found in the images: read from a run's findings, or searched where there are none."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from clsp import files
from clsp.evaluation.embeddings import Embeddings
from clsp.evaluation.findings import clusters, duplicates, outliers
from clsp.evaluation.findings.search import listed, nearest_others
from clsp.text import cell

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
    names = zip(embeddings.names, embeddings.parts)
    keys = [(cell(name), part) for name, part in names]
    place = {keys[row]: number for number, row in enumerate(rows)}

    def known(*columns: str) -> Callable[[dict[str, str]], bool]:
        """Whether the images that a line names are on the page."""
        return lambda line: all((line[name], line[part]) in place for name, part in zip(columns[::2], columns[1::2]))

    kinds = _lines(folder / "clusters.csv")
    with files.foreign(folder / "clusters.csv"):
        if [(line["name"], line["part"]) for line in kinds] != keys:
            raise ValueError("it tells of other images")
        cluster = np.array([int(line["cluster"]) - 1 for line in kinds], np.int64)[rows]
        typical = np.array([float(line["distance"]) for line in kinds], np.float32)[rows]
        if (cluster < 0).any() or not np.isfinite(typical).all():
            raise ValueError("its clusters begin with 1")
    with files.foreign(folder / "duplicates.csv"):
        columns = ("first", "first_part", "second", "second_part")
        copies = list(filter(known(*columns), _lines(folder / "duplicates.csv")))
        pairs = [[place[line["first"], line["first_part"]], place[line["second"], line["second_part"]]]
                 for line in copies]  # fmt: skip
        group, cosine = [int(line["group"]) for line in copies], [float(line["cosine"]) for line in copies]
    with files.foreign(folder / "outliers.csv"):
        far = list(filter(known("name", "part"), _lines(folder / "outliers.csv")))
        distance = [float(line["distance"]) for line in far]
        places = [place[line["name"], line["part"]] for line in far]
        outstanding = sum(line["stands_out"] == "yes" for line in far)
    return Found(
        cluster=cluster,
        typical=typical,
        pairs=np.array(pairs, np.int64).reshape(-1, 2),
        group=np.array(group, np.int64),
        cosine=_finite(cosine, folder / "duplicates.csv"),
        outliers=np.array(places, np.int64),
        distance=_finite(distance, folder / "outliers.csv"),
        outstanding=outstanding,
    )


def _finite(values: Sequence[float], path: Path) -> np.ndarray:
    """The values as float32, none of them NaN or infinite."""
    made = np.array(values, np.float32)
    with files.foreign(path):
        if not np.isfinite(made).all():
            raise ValueError("a value is no number")
    return made


def _lines(path: Path) -> list[dict[str, str]]:
    text = files.read_text(path)
    with files.foreign(path):
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
