"""Rows of pixels, as they come, into memory or into a .npy file: how many they are shows at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from clsp import files


def collect(rows: Iterator[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Put uint8 rows into one array in memory: of ``shape`` [N, ...], or shorter where fewer come."""
    images = np.empty(shape, np.uint8)
    count = 0
    for row in rows:
        images[count] = row
        count += 1
    return images[:count]


def write_rows(path: Path, rows: Iterator[np.ndarray], shape: tuple[int, ...]) -> None:
    """Stream rows into a .npy file, whose header is written again once their number is known."""
    with files.atomic(path) as file:
        _write_header(file, shape)
        count = 0
        for row in rows:
            file.write(row.tobytes())
            count += 1
        file.seek(0)
        _write_header(file, (count, *shape[1:]))  # as long as the first: numpy pads for a growing first axis


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
