"""Crash-safe files: what is on disk is either the old file or the new one, never a torn one.

Every write goes to a temporary file in the target's own folder, is flushed to the disk, and is then renamed over
the target; the folder entry is flushed last (Pillai et al., OSDI 2014). No pickle is read or written anywhere.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from clsp import faults
from clsp.processes import NODE, lives
from clsp.text import portable

_ENDING = ".clsp-tmp"
_TEMPORARY = re.compile(r"\..+\.(?P<node>[^.]+)-(?P<process>\d+)" + re.escape(_ENDING))
"""Names of files that are being written."""

_DAY = 86_400
"""Seconds."""


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open ``path`` for binary writing; the file appears whole when the block ends, or not at all.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    with replaced(path) as temporary, temporary.open("wb") as file:
        yield file


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path for others to write to; when the block ends, what is there takes the place of ``path``.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{NODE}-{os.getpid()}{_ENDING}")
    try:
        yield temporary
        faults.point("written")
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        faults.point("write")
        temporary.replace(path)
        faults.point("renamed")
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say which file it was
        raise
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it that are missing, so that none of them is lost with the power.

    Raises:
        OSError: a file is in the way, or the folder above cannot be written.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    faults.point("folder")
    flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk."""
    if os.name == "nt":  # it opens no folders
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may make a folder where one may not look
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in ``folder``, and none that is still being written.

    Only files with a name that `atomic` gives count: nobody else's.
    """
    for leftover in folder.rglob(f".*{_ENDING}"):
        named = _TEMPORARY.fullmatch(leftover.name)
        with suppress(FileNotFoundError):
            if named and leftover.is_file() and _abandoned(leftover, named["node"], int(named["process"])):
                leftover.unlink()


def _abandoned(temporary: Path, node: str, process: int) -> bool:
    """Whether who wrote ``temporary`` is gone; of a process of another machine that is assumed after a day."""
    if node != NODE:
        return time.time() - temporary.stat().st_mtime > _DAY
    # An earlier process had this process's number: who sweeps has not begun to write.
    return process == os.getpid() or not lives(process)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic(path) as file:
        file.write(data)


def write_changed(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, unless just that is there: work that is killed again and again gets on."""
    if not (path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data):
        write_bytes(path, data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, in UTF-8; what UTF-8 cannot say is escaped (see `portable`)."""
    write_bytes(path, portable(text).encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON atomically. NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write ``array`` as ``.npy`` atomically."""
    with atomic(path) as file:
        np.save(file, array, allow_pickle=False)


def append_jsonl(path: Path, records: Iterable[dict[str, Any]], *, durable: bool = False) -> None:
    """Append one line of JSON for each record to ``path``.

    Args:
        path: the log.
        records: what is written, if there is any.
        durable: whether to wait until all lines of the log are on the disk.
    """
    lines = "".join(json.dumps(record) + "\n" for record in records)
    if not lines and not (durable and path.exists()):
        return
    make_folder(path.parent)
    with path.open("ab") as file:
        file.write(lines.encode())
        file.flush()
        faults.point("append")
        if durable:
            os.fsync(file.fileno())
    if durable:  # the log may be new, from lines that nobody waited for
        flush_folder(path.parent)
