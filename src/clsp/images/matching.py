"""Which image a cell of a table means: by its path, or by less of it where that names one image only."""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Sequence

Key = Callable[[str], str]


def _path(name: str) -> str:
    return name


def _any_case(name: str) -> str:
    return name.casefold()


def _bare(name: str) -> str:
    """Without its suffix."""
    return posixpath.splitext(name.casefold())[0]


def _alone(name: str) -> str:
    """Without its folders."""
    return posixpath.basename(name.casefold())


def _bare_alone(name: str) -> str:
    return posixpath.basename(_bare(name))


_KEYS: tuple[Key, ...] = (_path, _any_case, _bare, _alone, _bare_alone)
"""Strictest first."""


class Matcher:
    r"""Finds images by what tables call them.

    Letters with accents may be written in either way (NFC, NFD), names that are not UTF-8 as Latin-1, folders with
    ``/`` or ``\``; a suffix, the letters' case and the folders may be missing where one image alone is meant.

    Args:
        names: relative POSIX paths of the images.
        suffixes: what files of images end in, without the dot.
        bases: folders that a cell may be relative to, each empty or ending in ``/``.
    """

    def __init__(self, names: Sequence[str], suffixes: Iterable[str], bases: Sequence[str] = ("",)) -> None:
        self._suffixes = tuple(f".{suffix}" for suffix in suffixes)
        self._bases = bases
        self._found: list[dict[str, int]] = [{} for _ in _KEYS]
        for number, name in enumerate(names):
            for spelling in {name, _composed(name), _composed(_as_latin(name))}:
                for known, key in zip(self._found, _KEYS, strict=True):
                    if known.setdefault(key(spelling), number) != number:
                        known[key(spelling)] = -1  # two images: neither is meant

    def find(self, text: str) -> int | None:
        """Return the number of the image that ``text`` names; None where it names none, or more than one."""
        if not text:
            return None
        plain = _composed(text.replace("\\", "/").removeprefix("./"))
        parts = plain.split("/")
        tails = ["/".join(parts[first:]) for first in range(len(parts))]
        wanted = [text, *(base + plain for base in self._bases), *tails]
        for known, key in zip(self._found, _KEYS, strict=True):
            for name in wanted:
                if (number := known.get(self._spelt(key, name), -1)) >= 0:
                    return number
        return None

    def _spelt(self, key: Key, name: str) -> str:
        """The key of a name; what ends in no suffix of an image is bare already: ``scan.v2`` is not ``scan``."""
        if key in (_bare, _bare_alone) and not name.casefold().endswith(self._suffixes):
            return name.casefold() if key is _bare else _alone(name)
        return key(name)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _as_latin(name: str) -> str:
    """The name read as Latin-1 where it is not UTF-8."""
    try:
        raw = name.encode("utf-8", "surrogateescape")
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
    except UnicodeEncodeError:
        return name
    return name
