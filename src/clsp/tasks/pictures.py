"""Rows of pictures on the page of a task: what is found by a caption, or by a query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clsp.errors import UserError
from clsp.report.folder import mapping
from clsp.report.html import Html, cells, element, join, paragraph

_SHOWN = 72
"""Side of a picture on the page in pixels."""


def strips(path: Path, results: dict[str, Any], titles: Sequence[str], note: str) -> Html:
    """A row for each title; nothing where nothing was drawn, and a line where the sheet is damaged.

    Args:
        path: the sheet.
        results: what the stage wrote of it: ``sheet``, and ``names`` of the images in each row.
        titles: of the rows.
        note: what is shown.
    """
    names = [[str(name) for name in line] for line in results.get("names") or ()]
    sheet = mapping(results.get("sheet"))
    if not names or not sheet:
        return Html()
    try:
        lines = cells(path, names, side=sheet["side"], gap=sheet["gap"], shown=_SHOWN)
    except UserError as error:
        return paragraph(f"{path.name} cannot be shown: {error}", "absent")
    rows = [
        element("div", [element("p", element("b", title)), element("div", pictures, class_="strip")], class_="cluster")
        for title, pictures in zip(titles, lines, strict=True)
    ]
    return join([paragraph(note, "names"), *rows])
