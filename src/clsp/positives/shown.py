"""What a notebook shows of a bank: some anchors with their candidates, and what the bank is."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clsp import files, tabular
from clsp.errors import UserError
from clsp.images.sheet import cell_scale, contact_sheet

if TYPE_CHECKING:
    from clsp.positives.bank import PositiveBank

ROWS = 6
"""Anchors that are shown."""
_WIDTH = 720
"""Pixels of the picture, at most."""


def bank_html(bank: PositiveBank) -> str:
    """Return a bank as HTML: its sheet of anchors with their candidates, above a line that says what it is.

    Of a bank without its sheet the candidates alone are shown, since a bank does not hold its anchors.
    """
    told = f"{len(bank)} anchors x {bank.candidates} candidates, drawn from {bank.manifest['data']['source']}"
    try:
        sheet, seen = _from_sheet(bank), "Left in each group: an anchor. Right of it: its candidates."
    except UserError:
        candidates = bank.array(np.linspace(0, len(bank) - 1, min(ROWS, len(bank))).astype(np.int64))
        sheet, seen = contact_sheet(candidates), "Each row: the candidates of an anchor."
    sheet.thumbnail((_WIDTH, _WIDTH))
    return tabular.picture(sheet, seen) + tabular.paragraph(f"{told}. {seen}")


def _from_sheet(bank: PositiveBank) -> Image.Image:
    """The first rows of ``sheet.png``, which the stage drew.

    Raises:
        UserError: it is not there, or damaged.
    """
    path, (height, width, _), gap = bank.folder / "sheet.png", bank.manifest["shape"], 2
    data = files.read_bytes(path)
    with files.foreign(path), Image.open(io.BytesIO(data), formats=("PNG",)) as sheet:
        wanted = gap + ROWS * (height * cell_scale(width) + gap)
        return sheet.crop((0, 0, sheet.width, min(wanted, sheet.height)))
