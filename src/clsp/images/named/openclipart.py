"""``openclipart``: some 7,000 drawings in colour of every size, in 22 categories; public domain.

The files come from Debian's package ``openclipart-png``: a real user's folder, nested, with transparency, line art,
series, and the same drawing in two places.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from clsp.errors import UserError
from clsp.images.catalogue import PACKAGED
from clsp.images.config import ImagesConfig
from clsp.images.imageset import Images
from clsp.images.named.pictures import listed, open_listed

FOLDER = Path("/usr/share/openclipart/png")
LARGEST = 50
"""Of a series at most so many drawings are taken (there are more than 1,300 stars that differ in one number)."""

_NUMBERS = re.compile(r"[\d_\-. ]+")


def is_there() -> bool:
    """Whether the package is installed."""
    return FOLDER.is_dir()


def group_of(file: str) -> str:
    """The series of a file: its path without the numbers of its name."""
    path = PurePosixPath(file)
    return f"{path.parent}/{_NUMBERS.sub('_', path.stem).strip('_')}"


def counts(file: str) -> bool:
    """Every file counts."""
    return True


def open_openclipart(config: ImagesConfig, *, seed: int = 0, store: Path | None = None) -> Images:
    """Open the drawings; a class is a folder of the first level.

    Raises:
        UserError: the package is not installed.
    """
    if not is_there():
        raise UserError(f"--data openclipart: {FOLDER} is not there; {PACKAGED['openclipart']}")
    pictures = listed(FOLDER, "openclipart", group_of, largest=LARGEST, counts=counts)
    return open_listed("openclipart", FOLDER, pictures, config, seed=seed, store=store)
