"""The boundary to files that may be damaged, strange or anybody's: whatever goes wrong in reading becomes one line."""

from __future__ import annotations

import errno
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clsp.errors import UserError

FIX = "delete it, and repeat the command that made it"
"""What to do about a damaged file, where nothing better is known."""

_LONGEST = 200
"""Characters of a reason that are shown."""

_DEEPEST = 64
"""Levels of nesting that are read: what a program writes has few, and each of ours walks them by recursion."""


class ChangedError(ValueError):
    """A file is not the one that was made."""


@contextmanager
def foreign(path: str | Path, fix: str = FIX, *, what: str = "cannot be read") -> Iterator[None]:
    """Read the file ``path`` in this block; whatever is raised there ends as one line.

    Args:
        path: the file, or the folder where several are read together.
        fix: what the user is to do.
        what: what is said of it.

    Raises:
        UserError: ``PATH cannot be read (REASON); FIX``. One that the block raised passes as it is.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:  # nothing is wrong with the file
            fix = "make some memory free"
        if isinstance(error, ChangedError) and fix is FIX:
            fix = f"'clsp verify {Path(path).parent} --repair' makes it again"
        raise UserError(f"{path} {what} ({reason(error)}); {fix}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of a library written in Rust
            raise
        raise UserError(f"{path} {what} ({reason(error)}); {fix}") from error


def reason(error: BaseException) -> str:
    """Say in one short line what an exception means for a file."""
    return " ".join(_said(error).split())[:_LONGEST].rstrip(" ;.:")


def _said(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}" if place else str(first["msg"])
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    if isinstance(error, KeyError):
        return f"it lacks {error.args[0]!r}" if error.args else "it lacks something"
    if isinstance(error, UnicodeDecodeError):
        return "it is no UTF-8 text"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    return str(error) or type(error).__name__


def regular(path: Path) -> Path:
    """Return ``path`` if it is a file: opening a pipe would wait for ever, and a device has no end.

    Raises:
        OSError: there is nothing, or something else.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise OSError("it is a folder, not a file")
    if not stat.S_ISREG(mode):
        raise OSError("it is no regular file")
    return path


def require_plain(value: Any, most: float = math.inf) -> None:
    """Refuse what JSON could not say, cycles, and nesting beyond what is read.

    Args:
        value: what was read.
        most: values that there may be: aliases of YAML can stand for any number of them.

    Raises:
        ValueError: says what is there.
    """
    level, count, depth = [value], 0, 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep, or holds itself")
        count += len(level)
        if count > most:
            raise ValueError(f"its aliases stand for more than {most:,.0f} values")
        level = [inner for outer in level for inner in _inside(outer)]


def _inside(value: Any) -> Iterator[Any]:
    """The values that a container holds; plain values hold none."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"the name {str(key)[:40]!r} is no text: write it in quotes")
        yield from value.values()
    elif isinstance(value, list):
        yield from value
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it holds {value}, which is no number")
    elif isinstance(value, int) and abs(value) >= 1 << 63:
        raise ValueError("it holds a number of more than 64 bits")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"it holds a {type(value).__name__}, which no setting is: write it in quotes")
