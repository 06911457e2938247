"""Thumbnails of many images on a few sheets, as small as the page needs them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from clsp.images.sheet import visible

Read = Callable[[int, int], np.ndarray]
"""Gives some of the pictures, from the first to the last: uint8 [n, C, H, W]."""

_SIDES = (96, 64, 48, 32, 16)
"""Sides of thumbnails in pixels."""
_BLOCK = 16
"""Pixels of a block of WebP: a cell begins with one, so that no picture colours its neighbour."""
_SHEET = 2_048
"""Height and width of a sheet in pixels at most: what every browser decodes."""
_TRIED = 256
"""Pictures by which the size of all is estimated."""
_QUALITY = 80


@dataclass(frozen=True)
class Sheets:
    """Pictures on sheets, row by row."""

    sheets: list[bytes]
    """WebP files."""
    side: int
    """Height and width of a picture in pixels."""
    cell: int
    """Of its cell."""
    columns: int
    """Cells of a row."""
    heights: list[int]
    """Of each sheet in pixels; its width is ``columns * cell``."""

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(map(len, self.sheets))


def draw_sheets(count: int, read: Read, size: int, *, most: int) -> Sheets:
    """Draw thumbnails as large as the room allows.

    Args:
        count: pictures.
        read: gives them.
        size: their height and width in pixels.
        most: bytes that the sheets may have, by an estimate; the smallest thumbnails may need more.
    """
    sides = [side for side in _SIDES if side < size]
    sides = [size, *sides] if size <= _SIDES[0] else sides
    side = next((side for side in sides[:-1] if _estimate(count, read, side) <= most), sides[-1])
    columns, cell = _layout(side)
    sheets, heights = [], []
    for first in range(0, count, columns * columns):
        last = min(first + columns * columns, count)
        sheet = _sheet(_pictures(read, first, last), last - first, side)
        sheets.append(_encoded(sheet))
        heights.append(sheet.height)
    return Sheets(sheets, side, cell, columns, heights)


def _estimate(count: int, read: Read, side: int) -> float:
    """Bytes of all thumbnails, by some that are spread over them."""
    rows = np.unique(np.linspace(0, count - 1, min(count, _TRIED)).astype(int))
    pictures = (read(int(row), int(row) + 1)[0] for row in rows)
    return count / len(rows) * len(_encoded(_sheet(pictures, len(rows), side)))


def _layout(side: int) -> tuple[int, int]:
    """Cells of a row, and the side of a cell in pixels."""
    cell = -(-side // _BLOCK) * _BLOCK
    return _SHEET // cell, cell


def _pictures(read: Read, first: int, last: int) -> Iterator[np.ndarray]:
    for begin in range(first, last, _TRIED):
        yield from read(begin, min(begin + _TRIED, last))


def _sheet(pictures: Iterator[np.ndarray], count: int, side: int) -> Image.Image:
    columns, cell = _layout(side)
    sheet = Image.new("RGB", (columns * cell, -(-count // columns) * cell))
    for number, picture in enumerate(pictures):
        sheet.paste(_thumbnail(picture, side, cell), (number % columns * cell, number // columns * cell))
    return sheet


def _thumbnail(picture: np.ndarray, side: int, cell: int) -> Image.Image:
    """One picture, uint8 [C, H, W]; its last row and column fill the rest of the cell."""
    pixels = np.ascontiguousarray(visible(picture).transpose(1, 2, 0))
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    made = np.asarray(image.convert("RGB"))
    return Image.fromarray(np.pad(made, ((0, cell - side), (0, cell - side), (0, 0)), mode="edge"))


def _encoded(sheet: Image.Image) -> bytes:
    file = io.BytesIO()
    sheet.save(file, format="WEBP", quality=_QUALITY, method=3)
    return file.getvalue()
