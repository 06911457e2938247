"""``openclipart``: some 7,000 drawings in colour of every size, in 22 categories; public domain.

The files come from Debian's package ``openclipart-png``: a real user's folder, nested, with transparency, line art,
series, and the same drawing in two places.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from clsp.errors import UserError
from clsp.images.catalogue import PACKAGED
from clsp.images.config import ImagesConfig
from clsp.images.imageset import Images
from clsp.images.named.pictures import listed, open_listed

FOLDER = Path("/usr/share/openclipart/png")
WORDS = Path("/usr/share/openclipart/svg")
"""The same drawings with what their authors say of them, from the package ``openclipart-svg``."""
LARGEST = 50
"""Of a series at most so many drawings are taken (there are more than 1,300 stars that differ in one number)."""

_TITLE = re.compile(r"<dc:title>(.*?)</dc:title>", re.DOTALL)
"""The first is the drawing's; its author's and its publisher's follow."""
_KEYWORD = re.compile(r"<rdf:li[^>]*>(.*?)</rdf:li>", re.DOTALL)
_NO_WORD = re.compile(r"hash|unsorted|HASH\(.*\)|")
"""What a program left in the lists of keywords."""
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


def said_of(names: Sequence[str]) -> list[str]:
    """Return what the authors say of the drawings, title and keywords; empty where they say nothing.

    Raises:
        UserError: the package with their words is not installed.
    """
    if not WORDS.is_dir():
        raise UserError(
            f"the titles and keywords of openclipart: {WORDS} is not there; sudo apt install openclipart-svg"
        )
    return [_said(WORDS / PurePosixPath(name).with_suffix(".svg")) for name in names]


def _said(path: Path) -> str:
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    title, keywords = _TITLE.search(text), _KEYWORD.findall(text)
    words = [_plain(title[1]) if title else "", *map(_plain, keywords)]
    return ", ".join(dict.fromkeys(word for word in words if not _NO_WORD.fullmatch(word)))


def _plain(text: str) -> str:
    return " ".join(html.unescape(text).replace("_", " ").split())
