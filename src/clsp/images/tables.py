"""Tables of what is known about images, as others write them: CSV, TSV and JSONL, in their encodings."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsp.errors import UserError

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson")
"""Files that are read as tables."""

_LINE_END = re.compile(r"\r\n|\n|\r")
"""What ends a line. ``str.splitlines`` knows more, U+2028 and U+0085 among them, which may stand in a text."""

_LARGEST = 1 << 30
"""Bytes of a file that is read."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text, the first of which may be the head."""

    told: str
    """The file, as messages name it."""
    rows: list[list[str]]
    """Cells without spaces around them; all rows have one length."""
    headed: bool
    """Whether the first row is known to be the head: in JSONL it is."""
    notes: tuple[str, ...] = ()


def read_table(path: Path, told: str) -> Table:
    """Read a table.

    Args:
        path: the file; its suffix says what it is.
        told: how messages name it.

    Raises:
        UserError: it cannot be read, is too large, or has no rows.
    """
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise UserError(
                f"{told} has {size / 1e9:.1f} GB, at most 1 GB is read as a table of labels; leave rows out"
            )
        text, notes = _decoded(path.read_bytes(), told)
        lines = path.suffix.lower() in (".jsonl", ".ndjson")
        rows = _of_json(text, told) if lines else _of_text(text, path.suffix.lower())
    except (OSError, csv.Error, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(
            f"{told} cannot be read as a table of labels ({reason}): mend it, or give another file"
        ) from error
    rows = [row for row in ([cell.strip() for cell in row] for row in rows) if any(row)]
    if not rows:
        raise UserError(f"{told} has no rows: a table of labels has the columns file_name and label")
    width = max(map(len, rows[:1000]))
    return Table(
        told=told,
        rows=[(row + [""] * width)[:width] for row in rows],
        headed=lines,
        notes=() if not notes else (notes,),
    )


def _decoded(content: bytes, told: str) -> tuple[str, str]:
    """Decode UTF-8 or what spreadsheets write in its place; also return what was assumed."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace"), ""
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return content.decode("latin-1"), f"{told} is not UTF-8: read as Latin-1"


def _of_text(text: str, suffix: str) -> list[list[str]]:
    """Rows between tabs in TSV, else between what the first line has most of."""
    first = text[: text.find("\n")] if "\n" in text else text
    delimiter = "\t" if suffix == ".tsv" else max(",;\t|", key=first.count)
    if not first.count(delimiter) and suffix == ".txt":
        return [line.split(None, 1) for line in _LINE_END.split(text)]
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _of_json(text: str, told: str) -> list[list[str]]:
    """One object a line: the head is all their keys."""
    found: list[dict[str, Any]] = []
    for number, line in enumerate(_LINE_END.split(text), start=1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError as error:
                raise UserError(f"{told}, line {number} is no JSON ({error}): write one object a line") from error
            if not isinstance(record, dict):
                raise UserError(f"{told}, line {number} is no JSON object: write one object a line")
            found.append(record)
    head = list(dict.fromkeys(key for record in found for key in record))
    return [head, *([_text(record.get(key)) for key in head] for record in found)]


def _text(value: Any) -> str:
    """A value as a cell; numbers and text as they are, what is nested as JSON."""
    if value is None:
        return ""
    return str(value) if isinstance(value, str | int | float) else json.dumps(value)
