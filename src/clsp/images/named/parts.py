"""Fixed train, validation and test parts of groups of images that belong together."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

TEST, VALIDATION = 0.2, 0.1
"""Fractions of a class's images that the test part and the validation part get, about."""

LEVELS, CONTRAST = 6.0, 0.2
"""Thumbnails of near duplicates have a root mean square difference of at most so many grey levels, and of at most this
fraction of the smaller one's standard deviation."""

_ROWS = 1024
"""Thumbnails that are compared with all at once."""


def part_of_groups(name: str, groups: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Give every image a part; images of one group are never parted.

    The groups of a class are ordered by a hash of their names. The first that fit form the test part, then come those
    of the validation part; the rest is the train part, which always has the largest group. No random number and no
    library has a say.

    Args:
        name: the data set's, part of the hash.
        groups: the group of each image.
        labels: the class of each image; a group counts for its commonest class.

    Returns:
        ``train``, ``validation`` or ``test`` for each image, str [N]. The single group of a class is in the train part.
    """
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for group, label in zip(groups, labels):
        members[group][label] += 1
    of_class: dict[str, list[str]] = defaultdict(list)
    for group, counts in members.items():
        of_class[min(counts, key=lambda label: (-counts[label], label))].append(group)
    part: dict[str, str] = {}
    for inside in of_class.values():
        sizes = {group: members[group].total() for group in sorted(inside, key=lambda group: _order(name, group))}
        part |= _filled(sizes)
    return np.array([part[group] for group in groups])


def _order(name: str, group: str) -> str:
    return hashlib.sha256(f"{name}/{group}".encode()).hexdigest()


def _filled(sizes: dict[str, int]) -> dict[str, str]:
    """Fill the test part, then the validation part, with the groups of one class in their order."""
    total = sum(sizes.values())
    largest = max(sizes, key=lambda group: (sizes[group], group))
    part = dict.fromkeys(sizes, "train")
    for name, fraction in (("test", TEST), ("validation", VALIDATION)):
        left = [group for group in sizes if part[group] == "train" and group != largest]
        filled = 0
        for group in left:
            if filled + sizes[group] / 2 <= fraction * total:
                filled += sizes[group]
                part[group] = name
        if left and not filled:
            part[min(left, key=lambda group: sizes[group])] = name
    return part


def joined(groups: Sequence[str], pairs: np.ndarray) -> list[str]:
    """Join the groups of images that are nearly the same.

    Args:
        groups: the group of each image, N names.
        pairs: rows of images that belong together, int64 [P, 2].

    Returns:
        N names: of groups that a chain of pairs connects, the first in alphabetical order.
    """
    root = {group: group for group in groups}

    def find(group: str) -> str:
        while root[group] != group:
            root[group] = root[root[group]]
            group = root[group]
        return group

    for first, second in pairs.tolist():
        one, other = sorted((find(groups[first]), find(groups[second])))
        root[other] = one
    return [find(group) for group in groups]


def near_duplicates(thumbnails: np.ndarray) -> np.ndarray:
    """Find pairs of images that are nearly the same: their thumbnails differ little, and much less than they vary.

    The second condition is for drawings of a few lines on white, which all differ little.

    Args:
        thumbnails: uint8 [N, ...].

    Returns:
        int64 [P, 2], each pair once, first < second.
    """
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    deviation = flat.std(axis=1)
    squares = (flat**2).sum(axis=1)
    found = [np.empty((0, 2), np.int64)]
    for first in range(0, len(flat), _ROWS):
        rows = slice(first, first + _ROWS)
        distances = squares[rows, None] + squares[None, :] - 2 * flat[rows] @ flat.T
        bound = most_apart(deviation[rows, None], deviation[None, :])
        pairs = np.argwhere(distances <= bound**2 * flat.shape[1])
        pairs[:, 0] += first
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return np.concatenate(found)


def most_apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How much the thumbnails of near duplicates differ at most: root mean square, in grey levels.

    Args:
        first: standard deviations of thumbnails, float.
        second: those of the thumbnails that they are compared with, of a shape that goes with it.
    """
    return np.minimum(LEVELS, CONTRAST * np.minimum(first, second))
