"""Sheets of thumbnails of what was found, a grid of equal cells from which the report takes single pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clsp import files
from clsp.images.sheet import PAPER, contact_sheet, visible

GAP = 2
"""Pixels between the cells, and around them."""


def draw(path: Path, images: files.Array, rows: Sequence[np.ndarray], *, side: int) -> dict[str, Any]:
    """Write a sheet with one line of thumbnails for each of ``rows``.

    Args:
        path: the PNG.
        images: uint8 [N, C, H, W].
        rows: places of the images of each line, int64; at least one line. Shorter lines end in empty cells.
        side: height and width that larger images are brought to.

    Returns:
        What a reader needs to find a cell: ``side``, ``gap``, and the ``pictures`` of each line.
    """
    shown = [_thumbnails(files.take(images, line), side) for line in rows]
    longest, size = max(map(len, shown)), shown[0].shape[-1]
    sheet = np.empty((len(shown), longest, 3, size, size), np.uint8)
    sheet[:] = np.array(PAPER, np.uint8)[:, None, None]
    for line, thumbnails in zip(sheet, shown):
        line[: len(thumbnails)] = thumbnails
    drawn = io.BytesIO()
    contact_sheet(sheet, scale=1, gap=GAP).save(drawn, format="PNG", optimize=True)
    files.write_changed(path, drawn.getvalue())
    return {"side": size, "gap": GAP, "pictures": [len(line) for line in shown]}


def _thumbnails(images: np.ndarray, side: int) -> np.ndarray:
    """Images uint8 [N, C, H, W] as RGB of at most ``side`` pixels, averaged where they are larger."""
    size = min(side, images.shape[2])
    colours = np.broadcast_to(visible(images), (len(images), 3, *images.shape[2:])).transpose(0, 2, 3, 1)
    pictures = (Image.fromarray(np.ascontiguousarray(image)) for image in colours)
    made = [np.asarray(picture.resize((size, size), Image.Resampling.BOX)) for picture in pictures]
    return np.stack(made).transpose(0, 3, 1, 2)
