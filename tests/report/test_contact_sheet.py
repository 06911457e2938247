from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsp.images.sheet import contact_sheet, save_sheet


def pictures(rows: int, columns: int, channels: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, columns, channels, size, size), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_cells_hold_the_pixels_enlarged(channels: int) -> None:
    rows = pictures(2, 3, channels, 8)
    sheet = np.asarray(contact_sheet(rows, scale=2, gap=3))
    assert sheet.shape == (3 + 2 * 19, 3 + 3 * 19, 3)
    cell = sheet[3 + 19 : 3 + 19 + 16 : 2, 3 + 38 : 3 + 38 + 16 : 2]
    assert (cell == np.broadcast_to(rows[1, 2], (3, 8, 8)).transpose(1, 2, 0)).all()


@pytest.mark.parametrize(("size", "scale"), [(8, 8), (28, 2), (32, 2), (64, 1), (224, 1)])
def test_cells_are_about_64_pixels_wide(size: int, scale: int) -> None:
    assert contact_sheet(pictures(1, 1, 1, size), gap=0).size == (size * scale, size * scale)


def test_the_first_column_stands_apart() -> None:
    rows = pictures(1, 4, 1, 8)
    assert contact_sheet(rows, separate_first=True).width > contact_sheet(rows).width


@pytest.mark.parametrize(("columns", "abreast"), [(2, 4), (4, 2), (9, 1), (30, 1)])
def test_short_rows_stand_side_by_side_where_the_first_column_is_separate(columns: int, abreast: int) -> None:
    rows = pictures(12, columns, 1, 8)
    assert contact_sheet(rows, scale=1, gap=2, separate_first=True).height == 2 + 12 // abreast * 10
    assert contact_sheet(rows, scale=1, gap=2).height == 2 + 12 * 10


def test_rows_side_by_side_are_in_order() -> None:
    """Five rows, two abreast: the fourth is the right one of the second line, and the last line is half empty."""
    rows = pictures(5, 5, 1, 8)
    sheet = np.asarray(contact_sheet(rows, scale=1, gap=2, separate_first=True))
    across = 5 * 10 + 6
    assert sheet.shape == (2 + 3 * 10, 2 + 2 * across + 4, 3)
    left = 2 + across + 4
    assert (sheet[12:20, left : left + 8, 0] == rows[3, 0, 0]).all()
    assert (sheet[22:, left:] == sheet[0, 0]).all()


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        contact_sheet(np.zeros((1, 1, 1, 8, 8)))


def test_save_writes_a_png(tmp_path: Path) -> None:
    save_sheet(tmp_path / "new" / "sheet.png", pictures(1, 2, 3, 8))
    with Image.open(tmp_path / "new" / "sheet.png") as image:
        assert image.format == "PNG"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]
