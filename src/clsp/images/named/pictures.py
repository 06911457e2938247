"""What the sets of picture files share: which files count, which belong together, and the parts."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from clsp.images.config import ImagesConfig
from clsp.images.decode import Decoded, Header, UnreadableImage, decode_file, read_header
from clsp.images.imageset import Images
from clsp.images.named.parts import part_of_groups
from clsp.images.pictures import Pictures, open_pictures
from clsp.images.tones import Tones

Group = Callable[[str], str]
"""The series that a file belongs to, from its name."""


@dataclass(frozen=True)
class Alike:
    """What was found by looking at the pictures, once for all: kept beside this file, made by a committed script."""

    blank: frozenset[str]
    """Files that show nothing at a small size."""
    joined: dict[str, str]
    """Series of which some pictures are nearly the same as some of another series -> the name for all of these."""

    @classmethod
    def read(cls, name: str) -> Alike:
        """Read the list of the data set ``name``."""
        text = resources.files("clsp.images.named").joinpath(f"{name}.txt").read_text(encoding="utf-8")
        lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
        blank = frozenset(line[1] for line in lines if line[0] == "blank")
        return cls(blank, {line[1]: line[2] for line in lines if line[0] == "joined"})


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The pictures of a set, sorted by name."""

    names: list[str]
    """Paths below the set's folder."""
    labels: list[str]
    groups: list[str]
    """Series, joined where pictures are nearly the same."""
    left_out: int
    """Files that show nothing, and those beyond the largest series."""


def listed(root: Path, name: str, group: Group, *, largest: int, counts: Callable[[str], bool]) -> Listed:
    """List the pictures below ``root``.

    Args:
        root: the folder; its first level of folders are the classes.
        name: the data set's.
        group: the series of a file.
        largest: of a longer series so many pictures are kept, those whose names have the smallest hashes.
        counts: whether a file belongs to the set at all.
    """
    alike = Alike.read(name)
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    found = [file for file in found if "/" in file and counts(file)]
    series: dict[str, list[str]] = defaultdict(list)
    for file in found:
        if file not in alike.blank:
            series[group(file)].append(file)
    kept = sorted(file for files in series.values() for file in sorted(files, key=_order)[:largest])
    return Listed(
        names=kept,
        labels=[file.split("/")[0] for file in kept],
        groups=[alike.joined.get(group(file), group(file)) for file in kept],
        left_out=len(found) - len(kept),
    )


def _order(file: str) -> str:
    return hashlib.sha256(file.encode()).hexdigest()


def open_listed(
    source: str, root: Path, pictures: Listed, config: ImagesConfig, *, seed: int, store: Path | None
) -> Images:
    """Decode the pictures into a train and a test part with the columns ``group`` and ``validation`` (bool).

    Args:
        source: the data set's name.
        root: where the files lie.
        pictures: which they are.
        config: size, channels, limit.
        seed: chooses the images under ``config.limit``.
        store: a folder for decoded pixels; None: keep them in memory.

    Raises:
        UserError: fewer than two pictures can be read.
    """
    classes = sorted(set(pictures.labels))
    part = part_of_groups(source, pictures.groups, pictures.labels)
    rows = {"train": np.flatnonzero(part != "test"), "test": np.flatnonzero(part == "test")}
    return open_pictures(
        source,
        {name: _pictures(root, pictures, chosen, classes, part, config) for name, chosen in rows.items()},
        config,
        identity=[source, str(root), pictures.names, pictures.groups, part.tolist()],
        classes=tuple(classes),
        notes=[
            f"read from {root}",
            f"{pictures.left_out} pictures are left out: blank ones, and those of long series",
            "the parts are fixed: series and near duplicates lie in one part",
        ],
        seed=seed,
        store=store,
    )


def _pictures(
    root: Path, pictures: Listed, rows: np.ndarray, classes: Sequence[str], part: np.ndarray, config: ImagesConfig
) -> Pictures:
    number = {name: index for index, name in enumerate(classes)}
    names = [pictures.names[row] for row in rows]
    labels = [number[pictures.labels[row]] for row in rows]

    def look(index: int) -> Header | None:
        try:
            return read_header(root / names[index], max_pixels=config.max_pixels)
        except UnreadableImage:
            return None

    def read(index: int, size: int, channels: int, tones: Tones) -> tuple[Decoded, int]:
        path, limit = root / names[index], config.max_pixels
        decoded = decode_file(path, size=size, channels=channels, max_pixels=limit, tones=tones)
        return decoded, labels[index]

    columns = {"group": [pictures.groups[row] for row in rows], "validation": (part[rows] == "validation").tolist()}
    return Pictures(count=len(names), look=look, read=read, names=names, columns=columns)
