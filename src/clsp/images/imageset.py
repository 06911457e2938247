"""What every SOURCE becomes: uint8 images with their index, file names and, where they exist, labels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clsp import files, randomness
from clsp.errors import UserError

if TYPE_CHECKING:
    from clsp.images.tones import Tones

Column = np.ndarray | Sequence[object]
"""One entry for every image."""

_HASHED = 256
"""Images whose pixels are read at once for a fingerprint."""


@dataclass(frozen=True, kw_only=True)
class Excluded:
    """A file that was left out, and why."""

    name: str
    """Path relative to the source."""
    reason: str
    """One line in plain words."""
    passing: bool = False
    """Whether the file may be sound: the disk or the network has failed."""

    def record(self) -> dict[str, str]:
        """Name and reason for JSON."""
        return {"name": self.name, "reason": self.reason}


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images of one part of a data set. An image's row is its dataset index, the id that everything uses."""

    images: files.Array
    """uint8 [N, C, H, W], in memory, memory-mapped, or rows of such an array (`clsp.files.Rows`); C is 1 to 16."""
    names: Sequence[str]
    """N names: file paths relative to the source, or ``train/00042`` where the source has no files."""
    labels: np.ndarray | None = None
    """int64 [N] in [0, classes), or None where the source has no labels. Never invented. In a train
    part -1 means that this image has no label (stl10): it serves pretraining; evaluation skips it."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """What else is known of every image, N entries by name: ``noisy_label``, ``caption``, ``key_points``, ``video``,
    ``time``, ``pair``; ``group`` (images of one group lie in one part) and ``validation`` (bool: held out to choose
    settings on)."""

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 (16 hex digits) over shape, pixels, names, labels and columns, read once in chunks."""
        return split_fingerprint(self)

    def has(self, name: str) -> bool:
        """Whether there is a column called ``name``; the labels are the column ``label``."""
        return self.labels is not None if name == "label" else name in self.columns

    def column(self, name: str) -> np.ndarray:
        """Return a column as an array [N, ...].

        Raises:
            UserError: there is none called ``name``.
        """
        if not self.has(name):
            known = f"known: {', '.join(self.columns)}" if self.columns else "they have no columns at all"
            raise UserError(f"the images have no column '{name}'; {known}")
        found = self.labels if name == "label" else self.columns[name]
        texts = isinstance(found, list | tuple) and any(isinstance(entry, str) for entry in found)
        return np.asarray(found, dtype=object if texts else None)  # numpy's text is as long as the longest of all

    def rows(self, rows: np.ndarray) -> Split:
        """The images ``rows`` (int64, sorted), without a copy of their pixels: they may not fit the memory."""
        if len(rows) == len(self):
            return self
        return Split(
            images=files.Rows(self.images, rows),
            names=[self.names[int(row)] for row in rows],
            labels=None if self.labels is None else self.labels[rows],
            columns={name: [column[int(row)] for row in rows] for name, column in self.columns.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Images:
    """A data set: a train part, perhaps a test part, and what was found while reading it."""

    source: str
    """The SOURCE as the user named it."""
    train: Split
    test: Split | None = None
    classes: tuple[str, ...] | None = None
    """Names of the classes, where the source has labels."""
    excluded: tuple[Excluded, ...] = ()
    """Files that could not be read."""
    notes: tuple[str, ...] = field(default=())
    """What was converted or decided, one plain sentence each (for the screen and the report)."""
    tones: Tones | None = None
    """How its files became 8-bit and opaque, where that is known."""
    listed: Path | None = None
    """A file that lists all names and all that was left out, where there is one."""

    @property
    def channels(self) -> int:
        """1 (gray), 3 (RGB), or the number of bands, up to 16."""
        return int(self.train.images.shape[1])

    @property
    def size(self) -> int:
        """Height of the images, which equals their width, in pixels."""
        return int(self.train.images.shape[2])

    @property
    def fingerprint(self) -> str:
        """A hash of all pixels, names and labels of the train part (16 hex digits): its identity."""
        return self.train.fingerprint


def split_fingerprint(split: Split) -> str:
    """Return a sha256 (16 hex digits) over shape, pixels, names, labels and columns, read in chunks."""
    digest = hashlib.sha256(repr(split.images.shape).encode())
    for first in range(0, len(split), _HASHED):
        digest.update(np.ascontiguousarray(split.images[first : first + _HASHED]).data)
        files.release(split.images)
    digest.update("\n".join(split.names).encode(errors="surrogateescape"))  # names that are not UTF-8
    if split.labels is not None:
        digest.update(split.labels.astype("<i8").tobytes())
    for name in sorted(split.columns):
        digest.update(f"{name}: {split.column(name).tolist()!r}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def subset(total: int, count: int | None, *, seed: int) -> np.ndarray:
    """Choose ``count`` of ``total`` dataset indices at random (all, when ``count`` is None or not smaller).

    Smaller subsets of one seed are contained in the larger ones, so that the anchors of a bank are found
    again among the images that served to train the diffusion model.

    Returns:
        int64 [min(count, total)], sorted.
    """
    if count is None or count >= total:
        return np.arange(total)
    return np.sort(taking_order(total, seed=seed)[:count])


def taking_order(total: int, *, seed: int) -> np.ndarray:
    """The dataset indices in the order in which larger and larger subsets take them, int64 [total]; see `subset`."""
    return randomness.permutation(seed, "subset", 0, total).numpy()


def channel_statistics(images: Images, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every channel on [0, 1], over at most 20,000 of the train images ``rows``.

    Args:
        images: the data.
        rows: dataset indices, int64 [N]; of 20,000 and more every second one is looked at, of 30,000 every third one.
    """
    rows, values = rows[:: max(len(rows) // 10_000, 1)], np.arange(256)
    counts = np.zeros((images.channels, 256), np.int64)
    for first in range(0, len(rows), _HASHED):  # a few at a time: as floats all of them take 9 times their memory
        pixels = files.take(images.train.images, rows[first : first + _HASHED])
        counts += [np.bincount(pixels[:, channel].ravel(), minlength=256) for channel in range(images.channels)]
    total = int(counts[0].sum())
    sums, squares = (counts @ values).tolist(), (counts @ values**2).tolist()
    spreads = [math.sqrt((total * square - one * one) / total**2) for one, square in zip(sums, squares, strict=True)]
    mean, std = [one / total / 255.0 for one in sums], [spread / 255.0 for spread in spreads]
    return [round(v, 6) for v in mean], [round(max(v, 1e-3), 6) for v in std]
