"""Text from outside, such as names of files: what of it may reach a terminal, a file of text, or a spreadsheet."""

from __future__ import annotations

import csv
import io
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of cells that spreadsheets take for formulas."""

_TURNED = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows them, so that a name looks like another."""


def option_in(words: Sequence[str], name: str) -> str | None:
    """Return what a command's words say of the option ``--NAME``, the last time; None: nothing."""
    values = [value for word, value in pairwise(words) if word == f"--{name}"]
    return values[-1] if values else None


def is_whole(text: str) -> bool:
    """Whether text is a whole number of plain digits, which 64 bits can hold."""
    return text.isascii() and text.isdigit() and len(text) < 19


def shown(text: str, *, lines: bool = False) -> str:
    r"""Return text as a terminal may show it: what would steer it is written as an escape.

    Args:
        text: any text.
        lines: whether line breaks are meant as such; else they are escaped as well.

    Returns:
        The text with control characters as ``\x1b``, line breaks as ``\n``, turns of direction as ``\u202e``, and bytes
        of a name that are no UTF-8 as ``\xe9``.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter == "\n" and lines else _shown(letter) for letter in text)


def _shown(letter: str) -> str:
    if letter.isprintable() or (unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") and letter not in _TURNED):
        return letter
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # Python's stand-in for a byte that is no UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


_UPRIGHT = {ord(letter): letter.encode("unicode_escape").decode() for letter in _TURNED}


def upright(text: str) -> str:
    r"""Return text in which what would turn its direction is written as ``\u202e``; the rest stays."""
    return text.translate(_UPRIGHT)


def portable(text: str) -> str:
    r"""Return text that UTF-8 can hold: a byte of a name that is no UTF-8 as ``\xe9``."""
    if text.isascii():
        return text
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, which no byte stands for
        raw = text.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace")


def cell(text: str) -> str:
    """Return text as a cell of a CSV file: portable, and with a ``'`` before what a spreadsheet would compute.

    Numbers stay numbers, also negative ones.
    """
    text = portable(text)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()


def csv_text(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a CSV file, every cell of which is a `cell`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerows([cell(value) for value in row] for row in (head, *rows))
    return buffer.getvalue()


def quoted(word: str) -> str:
    r"""Quote a word for a shell; of one that no UTF-8 can hold, or that would steer a terminal, as ``$'caf\xe9'``."""
    if shown(word) == word:
        return shlex.quote(word)
    inner = "".join(f"\\{letter}" if letter in "\\'" else shown(letter) for letter in word)
    return f"$'{inner}'"
