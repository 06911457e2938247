"""The ways from a result to what its user typed as relative paths: the images, and the file of their labels.

Such a path is often not there where the next command is typed. Then it is sought where it lay from the result.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsp.images.annotations import AUTO, NONE
from clsp.images.sources import is_path


def ways_from(out: Path, data: str, labels: str) -> dict[str, str]:
    """What a record says of the ways; nothing of what was typed as a whole path, or is none.

    Args:
        out: the result's folder.
        data: the SOURCE as it was typed.
        labels: the value of ``images.labels``.
    """
    found, path = {}, Path(data)
    if is_path(data) and not path.is_absolute() and path.exists():
        found["from_here"] = _way(out, path)
    if (typed := _typed(labels)) is not None:
        found["labels_from_here"] = _way(out, typed[0]) + typed[1]
    return found


def source_of(record: Mapping[str, Any], folder: Path) -> str:
    """Return the SOURCE that the recipe.yaml in ``folder`` tells of, as it can be reached from here.

    Raises:
        Exception: the record is not what clsp wrote.
    """
    source, beside = str(record["data"]["source"]), record["data"].get("from_here")
    if beside is None or Path(source).exists():
        return source
    path = Path(os.path.normpath(folder / str(beside)))
    return str(path) if path.exists() else source


def labels_of(record: Mapping[str, Any], folder: Path) -> str | None:
    """Return the ``images.labels`` that the recipe.yaml in ``folder`` tells of, as the file can be reached from here.

    Of two files the one that lies where it lay from the result counts: names such as labels.csv are many.

    Returns:
        None where it is reached as it was typed, or is no such file.

    Raises:
        Exception: the record is not what clsp wrote.
    """
    beside = (record.get("data") or {}).get("labels_from_here")
    found = None if beside is None else _file(folder, str(beside))
    if found is None:
        return None
    typed = _typed(str(record["images"]["labels"]))
    return None if typed is not None and typed[0].samefile(found[0]) else str(found[0]) + found[1]


def _way(out: Path, path: Path) -> str:
    return Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()


def _typed(labels: str) -> tuple[Path, str] | None:
    """The file that a relative path in ``images.labels`` names from here, and what says its columns."""
    named = labels not in (AUTO, NONE) and not labels.startswith("~") and not Path(labels).is_absolute()
    return _file(Path(), labels) if named else None


def _file(folder: Path, labels: str) -> tuple[Path, str] | None:
    """The file that FILE or FILE:COLUMN names from ``folder``, and what follows its name."""
    for text in filter(None, (labels, labels.rpartition(":")[0])):
        path = Path(os.path.normpath(folder / text))
        if path.is_file():
            return path, labels[len(text) :]
    return None
