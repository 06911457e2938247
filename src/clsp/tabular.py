"""Small tables and pictures: as plain text, as Markdown, as HTML for a notebook, as a frame of pandas."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clsp.errors import UserError
from clsp.text import portable

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL.Image import Image

Rows = Sequence[Sequence[str]]


def plain(head: Sequence[str], rows: Rows) -> str:
    """Lay a table out in columns; nothing where it has no rows."""
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in (head, *rows))
    return "\n".join(line.rstrip() for line in lines)


def markdown(head: Sequence[str], rows: Rows) -> str:
    """Lay a table out as Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def as_html(head: Sequence[str], rows: Rows) -> str:
    """Lay a table out as HTML, its text escaped; nothing where it has no rows."""
    if not rows:
        return ""
    top = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def paragraph(text: str) -> str:
    """A paragraph of HTML, its text escaped."""
    return f"<p>{escaped(text)}</p>"


def picture(image: Image, alt: str) -> str:
    """An ``img`` that carries its picture as PNG."""
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    source = base64.b64encode(file.getvalue()).decode()
    return f'<img src="data:image/png;base64,{source}" alt="{escaped(alt)}" width="{image.width}">'


def escaped(text: str) -> str:
    """Text that HTML shows as it is."""
    return html.escape(portable(text))


def frame(records: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Make a frame of pandas, a row for each record.

    Raises:
        UserError: pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise UserError("a frame needs pandas: pip install pandas") from error
    return pandas.DataFrame.from_records([dict(record) for record in records])
