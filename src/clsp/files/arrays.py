"""Arrays that lie in files: rows of them are fetched when they are asked for, and their pages are given back."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

_ROWS = 64
"""Rows that are copied at once from a mapped array: for each the kernel may map 64 KB around it."""


def release(array: Array) -> None:
    """Give back the pages of a memory-mapped ``array`` that were read; any other array is left alone.

    They stay in the system's cache, but no longer count as this process's memory, which else grows with the file.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on every system
        owner.madvise(mmap.MADV_DONTNEED)


class Lazy(ABC):
    """Stands for an array that would not fit the memory: rows are fetched when they are asked for, and not kept.

    Args:
        shape: that of the array, rows first.
        dtype: its type.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Copy rows: a slice, a mask bool [N], or places int64 of any shape."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Copy all rows: what numpy asks for where it wants an array."""
        return np.asarray(self[:], dtype=dtype)


class Rows(Lazy):
    """``array[rows]`` (rows int64 [N]) without the copy."""

    def __init__(self, array: Array, rows: np.ndarray) -> None:
        super().__init__((len(rows), *array.shape[1:]), array.dtype)
        self._array, self._rows = array, rows

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return take(self._array, self._rows[rows])

    def of(self, array: Array) -> np.ndarray | None:
        """Which rows of ``array`` these are, int64 [N]; None where they are another array's."""
        return self._rows if self._array is array else None


class Joined(Lazy):
    """Arrays one below the other, without a copy.

    Args:
        arrays: of one type, with rows of one shape; at least one.
    """

    def __init__(self, arrays: Sequence[Array]) -> None:
        super().__init__((sum(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
        self._arrays = arrays

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        places = np.arange(len(self))[rows]
        taken = np.empty((*places.shape, *self.shape[1:]), dtype=self.dtype)
        first = 0
        for array in self._arrays:
            inside = (places >= first) & (places < first + len(array))
            if inside.any():
                taken[inside] = take(array, places[inside] - first)
            first += len(array)
        return taken


Array = np.ndarray | Lazy


def rows_of(part: Array, whole: Array) -> np.ndarray | None:
    """Which rows of ``whole`` an array holds, where it was made of them without a copy.

    Returns:
        int64 [N]; None where ``part`` is made of something else.
    """
    if part is whole:
        return np.arange(len(whole))
    return part.of(whole) if isinstance(part, Rows) else None


def take(array: Array, rows: np.ndarray) -> np.ndarray:
    """Copy ``array[rows]``; of a memory-mapped array only the pages of some rows are resident at a time.

    Args:
        array: [N, ...].
        rows: int64 of any shape.
    """
    taken = np.empty((*rows.shape, *array.shape[1:]), dtype=array.dtype)
    for first in range(0, len(rows), _ROWS):
        taken[first : first + _ROWS] = array[rows[first : first + _ROWS]]
        release(array)
    return taken
