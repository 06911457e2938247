"""``wesnoth``: some 5,700 hand-drawn figures of a game, 21 races; their animations are short videos; GPL-2+.

The files come from Debian's package ``wesnoth-1.16-data`` or a later one.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from clsp.errors import UserError
from clsp.images.catalogue import PACKAGED
from clsp.images.config import ImagesConfig
from clsp.images.imageset import Column, Images, Split
from clsp.images.named.pictures import listed, open_listed

FOLDERS = "/usr/share/games/wesnoth"

_UNIT = re.compile(r"[-+.]|(?<=[a-z])\d")
_FRAME = re.compile(r"-?(\d+)$")
_EFFECT = re.compile(r"shadow|glow|overlay|halo|flame-?\d")
"""Files that show no figure."""


def is_there() -> bool:
    """Whether a package is installed."""
    return folder() is not None


def folder() -> Path | None:
    """Where the figures lie; of several versions the newest."""
    found = sorted(Path(FOLDERS).glob("*/data/core/images/units"))
    return found[-1] if found else None


def group_of(file: str) -> str:
    """The unit of a file, by the first word of its name, within its race: ``orcs/archer``."""
    return f"{file.split('/')[0]}/{_UNIT.split(PurePosixPath(file).stem)[0]}"


def counts(file: str) -> bool:
    """Whether a file shows a figure, and not its shadow or a flame alone."""
    return not _EFFECT.search(file)


def open_wesnoth(config: ImagesConfig, *, seed: int = 0, store: Path | None = None) -> Images:
    """Open the figures; a class is a race. Columns besides those of all sets: ``video`` (an animation) and ``time``.

    Raises:
        UserError: no package is installed.
    """
    root = folder()
    if root is None:
        raise UserError(f"--data wesnoth: no figures in {FOLDERS}; {PACKAGED['wesnoth']}")
    pictures = listed(root, "wesnoth", group_of, largest=10**6, counts=counts)
    images = open_listed("wesnoth", root, pictures, config, seed=seed, store=store)
    return replace(images, train=_with_time(images.train), test=images.test and _with_time(images.test))


def _with_time(split: Split) -> Split:
    """Add animation and place in it: ``orcs/archer-bob-2.png`` is frame 2 of ``orcs/archer-bob``."""
    stems = [name.removesuffix(".png") for name in split.names]
    frames = [_FRAME.search(stem) for stem in stems]
    columns: dict[str, Column] = {
        "video": [_FRAME.sub("", stem) for stem in stems],
        "time": np.array([int(frame[1]) if frame else 0 for frame in frames], np.int64),
    }
    return replace(split, columns={**split.columns, **columns})
