"""Where an exported encoder, diffusion model or bank comes from: what its own run wrote down, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from clsp import files
from clsp.encoders.cost import find_training
from clsp.engine.record import Record, read_record
from clsp.errors import UserError
from clsp.text import portable

FIX = "run 'clsp verify' on the folder"
"""What to do about a file of a run that no run writes so."""

_ABOVE = 4
"""Folders above an encoder in which its run is looked for: RUN/arms/ARM/seed-N."""

_SEPARATOR = r"(?:/|\\(?!x[0-9a-f]{2}))"
"""What stands between a folder and what lies in it; ``\\xe9`` is a byte of a name that is no UTF-8."""

_INSIDE = re.compile(_SEPARATOR + r"(?![\s,;:)'\"]|\.(?:\s|$)|$)")
"""A separator with something behind it: ``train/`` alone is the name of a folder."""

_SECRET = ("weights", "labels", "file")
"""Settings that may name a file of the user's."""


@dataclass(frozen=True)
class Origin:
    """What is known of a result; what is not known is empty, and no card speaks of it."""

    run: Path | None = None
    """The folder with ``recipe.yaml`` and ``images.json``."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What ``recipe.yaml`` says."""
    images: Mapping[str, Any] = field(default_factory=dict)
    """What ``images.json`` says of the data."""
    record: Record | None = None
    """The stage that made it."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """``metrics.json`` of the evaluation of just these weights."""

    @property
    def data(self) -> str | None:
        """The SOURCE, as the user named it; None where it is not known."""
        told = self.recipe.get("data")
        return str(told["source"]) if isinstance(told, Mapping) and "source" in told else None

    @property
    def paths(self) -> list[str]:
        """What the notes on the data may name of the user's paths, as they were typed: the SOURCE and its labels."""
        images = self.recipe.get("images")
        labels = str(images.get("labels", "")) if isinstance(images, Mapping) else ""
        typed = (path.rstrip("/\\") for path in (self.data or "", labels, labels.rpartition(":")[0]))
        return [path for path in typed if path]

    @property
    def measures(self) -> list[Measured]:
        """What was measured, in the order of the run's table."""
        told = self.metrics.get("measures", {})
        found = [(facts, self.metrics.get(name)) for name, facts in told.items()]
        return [Measured.of(facts, row) for facts, row in found if isinstance(row, Mapping) and facts["metric"] in row]

    @property
    def settings(self) -> dict[str, Any]:
        """What the stage was made with; of the user's files the names alone."""
        return {} if self.record is None else _shareable(self.record.settings)


@dataclass(frozen=True)
class Measured:
    """A number of ``metrics.json`` with how it was measured."""

    title: str
    quantity: str
    unit: str
    value: float
    low: float | None
    high: float | None
    limits: str
    protocol: str

    @classmethod
    def of(cls, facts: Mapping[str, Any], row: Mapping[str, Any]) -> Measured:
        """Join what a measure is with what it found."""
        title, quantity, unit, limits = (str(facts[name]) for name in ("title", "quantity", "unit", "limits"))
        value, low, high = float(row[facts["metric"]]), row.get("low"), row.get("high")
        return cls(title, quantity, unit, value, low, high, limits, str(row["protocol"]))


def origin_of(folder: Path, weights: str | None = None) -> Origin:
    """Find what a run wrote down about the result in ``folder``.

    Args:
        folder: of an encoder, a diffusion model or a bank.
        weights: the encoder's file; its hash tells which training and which evaluation are its own.

    Raises:
        UserError: a file of the run is damaged.
    """
    here = folder.resolve()
    run = next((place for place in (here, *here.parents[:_ABOVE]) if _is_run(place)), None)
    if weights is None:
        return _told(run, read_record(folder), {})
    sha256 = files.file_hash(folder / weights)
    cells = [here] if run is None else [here, *sorted((run / "arms").glob("*/seed-*"))]
    record = find_training(cells, sha256, weights)
    return _told(run, record, next((found for cell in cells if (found := _metrics(cell, sha256))), {}))


def _is_run(folder: Path) -> bool:
    return (folder / "recipe.yaml").is_file() and (folder / "images.json").is_file()


def _told(run: Path | None, record: Record | None, metrics: Mapping[str, Any]) -> Origin:
    if run is None:
        return Origin(record=record, metrics=metrics)
    images = files.read_json(run / "images.json", dict[str, Any])
    return Origin(run, files.read_yaml(run / "recipe.yaml"), images, record, metrics)


def _metrics(cell: Path, sha256: str) -> Mapping[str, Any]:
    """What an evaluation found of the weights with this hash; nothing where it evaluated others, or is not done."""
    folder = cell / "evaluation"
    record = read_record(folder)
    if record is None or not record.finished or record.inputs.get("encoder") != sha256[:16]:
        return {}
    path = folder / "metrics.json"
    return files.read_json(path, dict[str, Any]) if path.is_file() else {}


def require_origin(origin: Origin, what: str) -> str:
    """Return the SOURCE that a result was made from.

    Raises:
        UserError: nothing says it.
    """
    if origin.data is None:
        raise UserError(f"{what} needs images, and nothing says which ones it was trained on; give --data SOURCE")
    return origin.data


def _shareable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the user's folders."""
    return {name: _without_folders(name, value) for name, value in settings.items()}


def _without_folders(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {inner: _without_folders(inner, one) for inner, one in value.items()}
    return shared_name(value) if name in _SECRET and isinstance(value, str) else value


def shared_note(text: str, paths: Iterable[str]) -> str:
    """Return what others may read of a note: of known paths the last parts, and no other path.

    No pattern finds where a path with blanks ends. So a note that names another one ends at the colon before it.

    Args:
        text: a sentence, perhaps with a list behind a colon.
        paths: those that are known, see `Origin.paths`.

    Returns:
        The note; empty where nothing of it is left.
    """
    text = portable(text)
    for path in sorted(map(portable, paths), key=len, reverse=True):
        text = text.replace(path, shared_name(path))
    while _INSIDE.search(text):
        text = text.rpartition(": ")[0]
    return text


def shared_facts(ours: Mapping[str, Any]) -> dict[str, Any]:
    """What others may read of what an encoder's ``config.json`` says of its run: the data by their name alone."""
    return {**ours, **({"data": shared_name(str(ours["data"]))} if "data" in ours else {})}


def shared_name(source: str) -> str:
    """What others may read of a SOURCE: of a path its last part alone, which says nothing of this machine.

    Args:
        source: a folder, a file, ``hf:NAME``, or a data set's name.
    """
    kind, colon, rest = source.partition(":")
    if colon and kind == "hf" and not PurePath(rest).is_absolute() and not rest.startswith((".", "~")):
        return source
    parts = [part for part in re.split(_SEPARATOR, source) if part not in ("", ".")]
    return parts[-1] if parts else source
