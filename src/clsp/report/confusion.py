"""What the main arm's encoder takes for what: a small table for each measure that wrote one down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clsp.report.folder import mapping
from clsp.report.html import Content, Html, element, join, panel, table
from clsp.report.numbers import is_number
from clsp.report.study import Study

MOST = 20
"""Classes up to which the table can be read."""

_READING = (
    "Rows: the class of the test images; columns: what they were taken for. Right ones stand on the diagonal; the last "
    "column is the fraction of the class that was found."
)


def confusions(study: Study) -> Html:
    """The tables; nothing where none was written down or there are too many classes."""
    found = study.folder.evaluation
    names = [str(name) for name in study.folder.images.get("classes") or ()]
    drawn = []
    for name, one in study.measures.items():
        drawn.append(confusion(f"{one.title}, {study.main}", mapping(found.get(name)).get("confusion"), names))
    return join(drawn)


def confusion(title: str, value: Any, names: Sequence[str]) -> Html:
    """One table; nothing where ``value`` is no matrix of at most `MOST` classes.

    Args:
        title: what it is of.
        value: as JSON has it, how often an image of class i (row) was taken for class j (column).
        names: of the classes.
    """
    matrix = _matrix(value)
    if not matrix:
        return Html()
    classes = names if len(names) == len(matrix) else [f"class {k}" for k in range(len(matrix))]
    return panel(title, _table(matrix, classes), _READING)


def _matrix(value: Any) -> list[list[int]]:
    """Return the matrix where it is one of at most `MOST` classes, else nothing."""
    if not isinstance(value, list) or not 2 <= len(value) <= MOST:
        return []
    square = all(isinstance(row, list) and len(row) == len(value) and all(map(is_number, row)) for row in value)
    return value if square else []


def _table(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Html:
    rows: list[list[Content]] = []
    for number, (name, row) in enumerate(zip(classes, matrix, strict=True)):
        cells = [element("b" if k == number else "span", str(count) if count else "") for k, count in enumerate(row)]
        share = f"{100 * row[number] / sum(row):.0f} %" if sum(row) else ""
        rows.append([name, *cells, share])
    return table(["", *classes, "found"], rows)
