"""Data sets that hand out pictures one by one: which are read, at what size, into memory or the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clsp import files
from clsp.images import store as stores
from clsp.images.config import ImagesConfig
from clsp.images.decode import Decoded, Header, strict_pillow
from clsp.images.geometry import choose_channels, choose_size, limit_note, row_names
from clsp.images.imageset import Images, subset
from clsp.images.opening import libraries_for
from clsp.images.plan import VERSION, Part, Plan, check_enough
from clsp.images.survey import survey
from clsp.images.tones import Tones, settle
from clsp.settings.identity import identity as decisive

_SAMPLE = 256
"""Pictures that are looked at to choose size and channels."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """One part of such a data set."""

    count: int
    look: Callable[[int], Header | None]
    """Size and kind of picture ``i``; None where it cannot be read."""
    read: Callable[[int, int, int, Tones], tuple[Decoded, int]]
    """Picture ``i`` at a size, with a number of channels and the set's tones, and its label. May raise
    UnreadableImage."""
    labelled: bool = True
    file: Callable[[int], Path | bytes] | None = None
    """The file of picture ``i`` or its content, where there is one; pictures without are of 8 bits."""
    names: Sequence[str] | None = None
    """Names of all pictures; None: they are numbered."""
    columns: Mapping[str, Sequence[object]] = field(default_factory=dict)
    """What else is known of every picture, by name; the caller's ``identity`` tells it from another's."""


def open_pictures(
    source: str,
    parts: Mapping[str, Pictures],
    config: ImagesConfig,
    *,
    identity: Sequence[Any],
    classes: tuple[str, ...] | None,
    notes: Sequence[str],
    seed: int,
    store: Path | None,
) -> Images:
    """Read a data set of pictures; of a train part larger than ``config.limit`` only the chosen ones are decoded.

    Args:
        source: the SOURCE as the user named it.
        parts: ``train`` and perhaps ``test``.
        config: size, channels, limit.
        identity: what tells these pictures from others (JSON): a store is reused while it stays the same.
        classes: names of the classes.
        notes: what was found, for the report.
        seed: chooses the images under ``config.limit``.
        store: a folder for the decoded pixels; None: keep them in memory.

    Raises:
        UserError: fewer than two pictures could be read, or the disk has too little room.
    """
    chosen_by = None if config.limit is None else seed
    can = libraries_for(["x.tif"]) if any(part.file for part in parts.values()) else []
    key = files.fingerprint([VERSION, *identity, decisive(config), chosen_by, can])

    def plan() -> Plan:
        total = parts["train"].count
        train = subset(total, config.limit, seed=seed)
        size, channels, tones, decided = _look_at(source, parts["train"], train, config)
        rows = {part: train if part == "train" else np.arange(parts[part].count) for part in parts}
        return Plan(
            source=source,
            key=key,
            parts={name: _part(name, part, rows[name], size, channels, tones) for name, part in parts.items()},
            size=size,
            channels=channels,
            classes=classes,
            notes=(*notes, *limit_note(len(train), total), *decided),
            max_pixels=config.max_pixels,
            tones=tones,
        )

    return stores.fetch(store, key, source, plan)


def _look_at(
    source: str, part: Pictures, train: np.ndarray, config: ImagesConfig
) -> tuple[int, int, Tones, tuple[str, ...]]:
    """Choose size, channels and tones from pictures that are spread evenly over the part.

    Where some of them hold more than 8 bits, all pictures of ``train`` are looked at for the scale.
    """
    rows = np.unique(np.linspace(0, part.count - 1, min(part.count, _SAMPLE)).astype(int))
    found = _headers(part, rows, config.max_pixels)
    check_enough(source, len(found), ())
    size, note = choose_size([header.side for header in found.values()], config)
    channels = choose_channels(source, [header.channels for header in found.values()], config)
    if part.file is None:
        tones, notes = settle([], [], config)
    else:
        if any(header.deep for header in found.values()):
            found = _headers(part, train, config.max_pixels)
        tones, notes = survey(list(found), list(found.values()), config, opened=part.file)
    return size, channels, tones, (*filter(None, (note,)), *notes)


def _headers(part: Pictures, rows: np.ndarray, max_pixels: int) -> dict[int, Header]:
    """The headers of those that can be read, by row."""
    with strict_pillow(max_pixels):
        looked = {int(row): part.look(int(row)) for row in rows}
    return {row: header for row, header in looked.items() if header is not None}


def _part(name: str, part: Pictures, rows: np.ndarray, size: int, channels: int, tones: Tones) -> Part:
    def read(index: int) -> tuple[Decoded, int]:
        return part.read(int(rows[index]), size, channels, tones)

    names = row_names(name, rows) if part.names is None else tuple(part.names[row] for row in rows)
    columns = {column: [values[int(row)] for row in rows] for column, values in part.columns.items()}
    return Part(names=names, read=read, labelled=part.labelled, columns=columns)
