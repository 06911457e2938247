"""Which images are set apart from others to be tested on: of every class a fraction, and groups stay whole.

Slices of one volume, or images of one patient, are nearly the same: with some of them on each side, a test would ask
for what was learnt by heart.
"""

from __future__ import annotations

import numpy as np

from clsp.errors import UserError
from clsp.images.imageset import Split

GROUP = "group"
"""The column that names what an image belongs to; images whose entry is empty belong to nothing."""

_YES, _NO = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0", "")


def groups_of(split: Split, rows: np.ndarray | None = None) -> np.ndarray | None:
    """Number the groups of images in the order of their first ones.

    Args:
        split: the images.
        rows: those that are asked for, int64 [N]; None: all.

    Returns:
        int64 [N]; None where there is no column ``group``, or no group of two images.
    """
    if not split.has(GROUP):
        return None
    column = split.column(GROUP) if rows is None else split.column(GROUP)[rows]
    known: dict[object, int] = {}
    numbers = [known.setdefault(str(entry) or row, len(known)) for row, entry in enumerate(column.tolist())]
    return np.array(numbers, np.int64) if len(known) < len(numbers) else None


def fraction_of_each(labels: np.ndarray | None, fraction: float, groups: np.ndarray | None = None) -> np.ndarray:
    """Mark a fraction of every class, evenly, at least one image (or group) of two or more.

    A group counts for its commonest class, and is marked only if it leaves an image of each of its classes.

    Args:
        labels: int64 [N].
        fraction: between 0 and 1.
        groups: the number of each image's group, int64 [N]; None: each image is drawn by itself.

    Returns:
        bool [N].
    """
    assert labels is not None
    marked = np.zeros(len(labels), dtype=bool)
    if groups is not None:
        return _whole_groups(labels, fraction, groups)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        marked[rows[np.linspace(0, len(rows) - 1, count + 2).round().astype(int)[1:-1]] if count > 0 else []] = True
    return marked


def held_out(labels: np.ndarray | None, fraction: float, groups: np.ndarray | None) -> np.ndarray:
    """Mark images to choose settings on, as `fraction_of_each`; single ones where no group can be spared."""
    marked = fraction_of_each(labels, fraction, groups)
    return marked if groups is None or marked.any() else fraction_of_each(labels, fraction)


def _whole_groups(labels: np.ndarray, fraction: float, groups: np.ndarray) -> np.ndarray:
    pairs, counts = np.unique(np.stack([groups, labels]), axis=1, return_counts=True)
    held: dict[int, dict[int, int]] = {}
    for group, label, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        held.setdefault(group, {})[label] = count
    of_class: dict[int, list[int]] = {}
    for group, classes in held.items():
        of_class.setdefault(max(classes, key=lambda label: (classes[label], -label)), []).append(group)
    left = dict(zip(*(found.tolist() for found in np.unique(labels, return_counts=True)), strict=True))
    chosen = [group for label in sorted(of_class) for group in _spread(of_class[label], held, left, fraction)]
    return np.isin(groups, chosen)


def _spread(inside: list[int], held: dict[int, dict[int, int]], left: dict[int, int], fraction: float) -> list[int]:
    """Choose groups of one class, spread evenly; ``left`` counts the images of each class that are not chosen."""
    chosen: list[int] = []
    passed = taken = 0
    sizes = {group: sum(held[group].values()) for group in inside}

    def take(group: int) -> bool:
        if any(left[label] <= count for label, count in held[group].items()):
            return False
        for label, count in held[group].items():
            left[label] -= count
        chosen.append(group)
        return True

    for group in inside:
        passed += sizes[group]
        if taken + sizes[group] / 2 <= fraction * passed and take(group):
            taken += sizes[group]
    if not chosen and len(inside) > 1:
        next((group for group in sorted(inside, key=lambda group: sizes[group]) if take(group)), None)
    return chosen


def flags(split: Split, name: str) -> np.ndarray:
    """Read a column of truth values, which a table may write as words.

    Returns:
        bool [N].

    Raises:
        UserError: an entry is neither true nor false.
    """
    column = split.column(name)
    if column.dtype.kind in "biuf":
        return column.astype(bool)
    words = [str(entry).strip().casefold() for entry in column.tolist()]
    if strange := next((word for word in words if word not in (*_YES, *_NO)), None):
        raise UserError(
            f"the column '{name}' says '{strange}' of an image: true and false, yes and no, 1 and 0 are read"
        )
    return np.array([word in _YES for word in words], bool)
