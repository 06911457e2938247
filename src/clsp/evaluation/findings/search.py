"""The search of an encoder's embeddings for what helps without labels, and the files that tell of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import console, files
from clsp.engine.neighbours import nearest
from clsp.evaluation.embeddings import Embeddings
from clsp.evaluation.findings import clusters, duplicates, outliers, words
from clsp.evaluation.findings.pictures import draw
from clsp.evaluation.findings.state import State, look_at
from clsp.evaluation.trained import Trained
from clsp.images.config import AugmentConfig
from clsp.images.imageset import subset
from clsp.text import csv_text, portable

MAKES = ("findings.json", "*.csv", "*.png")
"""Patterns of the names of the files."""

_SEARCHED = 50_000
"""Images that are compared with each other; of more, so many at random. The time grows with the square."""
_NEIGHBOURS = 10
"""Nearest others of each image that are looked at."""
_PAIRS, _FARTHEST, _TYPICAL = 12, 12, 14
"""Pairs, outliers, and images of a cluster that are shown."""
_LARGE, _SMALL = 96, 64
"""Sides of thumbnails in pixels: of pairs and outliers, and of clusters."""
_LISTED = (20, 1_000)
"""Images that outliers.csv lists at least and at most: one of a hundred, and all that stand out."""


@dataclass(frozen=True)
class Findings:
    """What was found."""

    embeddings: Embeddings
    searched: np.ndarray
    """The images that were compared with each other, int64 [n]; duplicates and outliers name places among these."""
    duplicates: duplicates.Duplicates
    outliers: outliers.Outliers
    clusters: clusters.Clusters
    state: State

    @property
    def pairs(self) -> np.ndarray:
        """Rows of the near-duplicates among all images, int64 [P, 2]."""
        return self.searched[self.duplicates.places]

    @property
    def farthest(self) -> np.ndarray:
        """Rows of the outliers among all images, the farthest first, int64 [n]."""
        return self.searched[self.outliers.places]

    def save(self, folder: Path) -> None:
        """Write ``duplicates.csv``, ``outliers.csv``, ``clusters.csv``, their sheets and ``findings.json``."""
        files.make_folder(folder)
        tables = {"duplicates": self._duplicates(), "outliers": self._outliers(), "clusters": self._clusters()}
        for name, (head, rows) in tables.items():
            files.write_changed(folder / f"{name}.csv", csv_text(head, rows).encode())
        record = json.dumps(self._record(folder), indent=2, allow_nan=False) + "\n"
        files.write_changed(folder / "findings.json", record.encode())

    def _duplicates(self) -> tuple[list[str], Iterable[list[str]]]:
        names, parts, found = self.embeddings.names, self.embeddings.parts, self.duplicates
        head = ["group", "first", "second", "first_part", "second_part", "cosine", "difference"]
        return head, (
            [str(group), names[one], names[two], parts[one], parts[two], f"{cosine:.6f}", f"{apart:.3f}"]
            for group, (one, two), cosine, apart in zip(
                found.group, self.pairs, found.similarity, found.difference, strict=True
            )
        )

    def _outliers(self) -> tuple[list[str], Iterable[list[str]]]:
        names, parts, found = self.embeddings.names, self.embeddings.parts, self.outliers
        count = listed(found.count, len(self.searched))
        return ["name", "part", "distance", "stands_out"], (
            [names[row], parts[row], f"{distance:.6f}", "yes" if place < found.count else "no"]
            for place, (row, distance) in enumerate(zip(self.farthest[:count], found.distance[:count], strict=True))
        )

    def _clusters(self) -> tuple[list[str], Iterable[list[str]]]:
        found, images = self.clusters, self.embeddings
        return ["name", "part", "cluster", "distance"], (
            [name, part, str(cluster + 1), f"{distance:.6f}"]
            for name, part, cluster, distance in zip(
                images.names, images.parts, found.cluster, found.distance, strict=True
            )
        )

    def _record(self, folder: Path) -> dict[str, Any]:
        """What ``findings.json`` holds; the sheets that it tells of are drawn on the way."""
        total, crossing = len(self.embeddings), np.array(self.embeddings.parts)[self.pairs]
        across = int((crossing[:, 0] != crossing[:, 1]).sum())
        return {
            "images": total,
            "searched": len(self.searched),
            "told": {
                "headline": words.headline(total, self.state, self.clusters, self.duplicates, self.outliers),
                "state": words.of_state(self.state),
                "clusters": words.of_clusters(self.clusters),
                "duplicates": words.of_duplicates(self.duplicates, across),
                "outliers": words.of_outliers(self.outliers),
                "limits": words.of_limits(len(self.searched), total),
            },
            "state": {name: round(float(value), 4) for name, value in asdict(self.state).items()},
            "clusters": self._shown_clusters(folder / "clusters.png"),
            "duplicates": self._shown_duplicates(folder / "duplicates.png"),
            "outliers": self._shown_outliers(folder / "outliers.png"),
        }

    def _shown_clusters(self, path: Path) -> dict[str, Any]:
        found, labels = self.clusters, self.embeddings.labels
        typical = [found.typical(cluster, _TYPICAL) for cluster in range(len(found.sizes))]
        listed = []
        for cluster, size in enumerate(found.sizes.tolist()):
            inside = Counter(label for row in np.flatnonzero(found.cluster == cluster) if (label := labels[row]))
            most = max(inside.items(), key=lambda item: (item[1], item[0]), default=None)
            known = {"label": portable(most[0]), "fraction": round(most[1] / inside.total(), 4)} if most else {}
            listed.append({"size": size, **known})
        return {
            "rule": clusters.RULE,
            "silhouettes": {str(count): round(value, 4) for count, value in found.silhouettes.items()},
            "shown": listed,
            "sheet": draw(path, self.embeddings.pixels, typical, side=_SMALL),
        }

    def _shown_duplicates(self, path: Path) -> dict[str, Any]:
        found, firsts = self.duplicates, np.unique(self.duplicates.group, return_index=True)[1]
        chosen = firsts[:_PAIRS]  # the closest pair of each group: a hundred copies of one picture are one finding
        pairs = self.pairs[chosen]
        names, parts = self.embeddings.names, self.embeddings.parts
        shown = [
            {
                "names": [portable(names[row]) for row in pair],
                "parts": [parts[row] for row in pair],
                "cosine": round(float(cosine), 4),
            }
            for pair, cosine in zip(pairs, found.similarity[chosen], strict=True)
        ]
        record = {"rule": duplicates.RULE, "count": len(found.places), "groups": found.groups, "shown": shown}
        return record | ({"sheet": draw(path, self.embeddings.pixels, list(pairs), side=_LARGE)} if shown else {})

    def _shown_outliers(self, path: Path) -> dict[str, Any]:
        found, rows = self.outliers, self.farthest[:_FARTHEST]
        shown = [
            {"name": portable(self.embeddings.names[row]), "distance": round(float(distance), 4)}
            for row, distance in zip(rows, found.distance[:_FARTHEST])
        ]
        return {
            "rule": outliers.RULE.format(count=min(_NEIGHBOURS, len(self.searched) - 1)),
            "count": found.count,
            "median": round(found.median, 6),
            "line": round(found.line, 6),
            "shown": shown,
            "sheet": draw(path, self.embeddings.pixels, [rows], side=_LARGE),
        }


def search(trained: Trained, embeddings: Embeddings, config: AugmentConfig, *, seed: int) -> Findings:
    """Search embeddings for near-duplicates, outliers and clusters, and look at the encoder's state.

    Args:
        trained: what made the embeddings; it makes those of changed views.
        embeddings: of all images.
        config: how views of images are drawn, as in its training.
        seed: names all that is drawn at random.
    """
    total = len(embeddings)
    searched = subset(total, _SEARCHED, seed=seed)
    console.say(f"findings: looking for near-duplicates, outliers and clusters in {total:,} images")
    unit = F.normalize(torch.from_numpy(embeddings.values), dim=1)
    some = unit if len(searched) == total else unit[torch.from_numpy(searched)]
    pixels = files.Rows(embeddings.pixels, searched)
    similar, found = nearest_others(some, _NEIGHBOURS)
    return Findings(
        embeddings=embeddings,
        searched=searched,
        duplicates=duplicates.find_duplicates(similar, found, pixels),
        outliers=outliers.find_outliers(similar),
        clusters=clusters.find_clusters(unit.numpy(), seed=seed),
        state=look_at(trained, pixels, some, config, seed=seed),
    )


def listed(outstanding: int, searched: int) -> int:
    """How many outliers are listed where so many stand out of those that were searched."""
    least, most = _LISTED
    return min(max(outstanding, searched // 100, least), most, searched)


def nearest_others(unit: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the nearest others of every image, itself left out.

    Args:
        unit: embeddings, float [N, D], N at least 2.
        count: others of each, at most N - 1.

    Returns:
        Cosines float [N, K] in falling order, and places int64 [N, K].
    """
    count = min(count, len(unit) - 1)
    similar, found = nearest(unit, unit, count + 1)
    own = found == torch.arange(len(unit))[:, None]
    own[~own.any(dim=1), -1] = True  # where more copies of it than are looked at come before it
    others = ~own
    return similar[others].view(-1, count), found[others].view(-1, count)
