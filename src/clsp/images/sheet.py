"""Contact sheets: many small pictures on one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from clsp import files

CELL = 64
"""About the width of a cell in pixels, when no scale is given."""
_WIDE = 12
"""Cells across a sheet of short rows, the gaps between them among these."""
PAPER = (244, 243, 240)


def contact_sheet(
    rows: np.ndarray,
    *,
    scale: int | None = None,
    gap: int = 2,
    separate_first: bool = False,
) -> Image.Image:
    """Lay out pictures in a grid, each enlarged without smoothing.

    Args:
        rows: uint8 [R, K, C, H, W]: R rows of K pictures, shown as `visible` says.
        scale: whole factor of enlargement; by default the one that makes a cell about 64 pixels wide.
        gap: pixels between cells and around the sheet.
        separate_first: leave a wider gap after the first column (anchors before their candidates). Short rows then
            stand side by side, far apart, about a dozen cells in all, so that they make no narrow strip.

    Returns:
        An RGB picture.

    Raises:
        ValueError: ``rows`` has another type or shape, or no picture.
    """
    rows = np.asarray(rows)
    if rows.ndim != 5 or rows.dtype != np.uint8 or 0 in rows.shape:
        raise ValueError(f"rows must be uint8 [R, K, C, H, W], not {rows.dtype} {list(rows.shape)}")
    count, columns, _, height, width = rows.shape
    scale = scale or cell_scale(width)
    height, width = height * scale, width * scale
    apart = max(3 * gap, width // 8) if separate_first and columns > 1 else 0
    across = columns * (width + gap) + apart
    abreast = min(max(_WIDE // (columns + 1), 1), count) if separate_first else 1
    beside = width // 2  # between rows that stand side by side
    size = (gap + abreast * (across + beside) - beside, gap + -(-count // abreast) * (height + gap))
    sheet = Image.new("RGB", size, PAPER)
    for row in range(count):
        top, start = gap + row // abreast * (height + gap), gap + row % abreast * (across + beside)
        for column in range(columns):
            left = start + column * (width + gap) + (apart if column else 0)
            sheet.paste(_enlarged(rows[row, column], scale), (left, top))
    return sheet


def cell_scale(width: int) -> int:
    """The factor of enlargement that makes a picture of ``width`` pixels about as wide as a cell."""
    return max(1, round(CELL / width))


def save_sheet(
    path: Path,
    rows: np.ndarray,
    *,
    scale: int | None = None,
    gap: int = 2,
    separate_first: bool = False,
) -> None:
    """Write a contact sheet as PNG, atomically; the arguments are those of ``contact_sheet``."""
    sheet = contact_sheet(rows, scale=scale, gap=gap, separate_first=separate_first)
    with files.atomic(path) as file:
        sheet.save(file, format="PNG", optimize=True)


def visible(images: np.ndarray) -> np.ndarray:
    """What is shown of images [..., C, H, W]: 1 or 3 channels as they are, of 2 the first, of more the first three."""
    return images if images.shape[-3] in (1, 3) else images[..., : 1 if images.shape[-3] == 2 else 3, :, :]


def _enlarged(image: np.ndarray, scale: int) -> Image.Image:
    """One picture, uint8 [C, H, W], as RGB, every pixel repeated ``scale`` times both ways."""
    image = visible(image)
    pixels = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)))
