"""Data sets that hand out pictures one by one: which are read, at what size, into memory or the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clsp import files
from clsp.images import store as stores
from clsp.images.config import ImagesConfig
from clsp.images.decode import Decoded, Header, strict_pillow
from clsp.images.geometry import choose_channels, choose_size, limit_note, row_names
from clsp.images.imageset import Images, subset
from clsp.images.plan import VERSION, Part, Plan, check_enough
from clsp.settings.identity import identity as decisive

_SAMPLE = 256
"""Pictures that are looked at to choose size and channels."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """One part of such a data set."""

    count: int
    look: Callable[[int], Header | None]
    """Size and kind of picture ``i``; None where it cannot be read."""
    read: Callable[[int, int, int], tuple[Decoded, int]]
    """Picture ``i`` at a size and with a number of channels, and its label. May raise UnreadableImage."""
    labelled: bool = True
    names: Sequence[str] | None = None
    """Names of all pictures; None: they are numbered."""


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
    key = files.fingerprint([VERSION, *identity, decisive(config), chosen_by])

    def plan() -> Plan:
        size, channels, note = _look_at(source, parts["train"], config)
        total = parts["train"].count
        train = subset(total, config.limit, seed=seed)
        rows = {part: train if part == "train" else np.arange(parts[part].count) for part in parts}
        return Plan(
            source=source,
            key=key,
            parts={name: _part(name, part, rows[name], size, channels) for name, part in parts.items()},
            size=size,
            channels=channels,
            classes=classes,
            notes=(*notes, *limit_note(len(train), total), *filter(None, (note,))),
            max_pixels=config.max_pixels,
        )

    return stores.fetch(store, key, source, plan)


def _look_at(source: str, part: Pictures, config: ImagesConfig) -> tuple[int, int, str | None]:
    """Choose size and channels from pictures that are spread evenly over the part."""
    rows = np.unique(np.linspace(0, part.count - 1, min(part.count, _SAMPLE)).astype(int))
    with strict_pillow(config.max_pixels):
        sample = [header for header in (part.look(int(row)) for row in rows) if header is not None]
    check_enough(source, len(sample), ())
    size, note = choose_size([header.side for header in sample], config)
    return size, choose_channels([header.gray for header in sample], config), note


def _part(name: str, part: Pictures, rows: np.ndarray, size: int, channels: int) -> Part:
    def read(index: int) -> tuple[Decoded, int]:
        return part.read(int(rows[index]), size, channels)

    names = row_names(name, rows) if part.names is None else tuple(part.names[row] for row in rows)
    return Part(names=names, read=read, labelled=part.labelled)
