"""Crash-safe files: what is on disk is either the old file or the new one, never a torn one.

Every write goes to a temporary file in the target's own folder, is flushed to the disk, and is then renamed over
the target; the folder entry is flushed last (Pillai et al., OSDI 2014). No pickle is read or written anywhere.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import platform
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from clsp import faults
from clsp.text import portable

_NODE = platform.node().replace(".", "_")
"""This machine: several may write to one folder."""

_ENDING = ".clsp-tmp"
_TEMPORARY = re.compile(r"\..+\.(?P<node>[^.]+)-(?P<process>\d+)" + re.escape(_ENDING))
"""Names of files that are being written."""

_DAY = 86_400
"""Seconds."""

_ROWS = 64
"""Rows that are copied at once from a mapped array: for each the kernel may map 64 KB around it."""


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
    temporary = path.with_name(f".{path.name}.{_NODE}-{os.getpid()}{_ENDING}")
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
    if node != _NODE or os.name == "nt":  # where asking for a process would end it
        return time.time() - temporary.stat().st_mtime > _DAY
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return process == os.getpid()  # an earlier process had this number: who sweeps has not begun to write


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    r"""Write ``text`` to ``path`` atomically, in UTF-8; bytes of names that are none as ``\xe9``."""
    write_bytes(path, portable(text).encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON atomically. NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_array(path: Path, array: np.ndarray) -> None:
    """Write ``array`` as ``.npy`` atomically."""
    with atomic(path) as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Read a ``.npy`` file, memory-mapped if ``mapped``. Object arrays, which are pickles, are refused."""
    array: np.ndarray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return array


def release(array: Array) -> None:
    """Give back the pages of a memory-mapped ``array`` that were read; any other array is left alone.

    They stay in the system's cache, but no longer count as this process's memory, which else grows with the file.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on every system
        owner.madvise(mmap.MADV_DONTNEED)


class Lazy(ABC):
    """Stands for an array that would not fit the memory: rows are fetched when they are asked for, and not kept.

    Args:
        shape: that of the array, rows first.
        dtype: its type.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Copy rows: a slice, a mask bool [N], or places int64 of any shape."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Copy all rows: what numpy asks for where it wants an array."""
        return np.asarray(self[:], dtype=dtype)


class Rows(Lazy):
    """``array[rows]`` (rows int64 [N]) without the copy."""

    def __init__(self, array: Array, rows: np.ndarray) -> None:
        super().__init__((len(rows), *array.shape[1:]), array.dtype)
        self._array, self._rows = array, rows

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return take(self._array, self._rows[rows])


Array = np.ndarray | Lazy


def take(array: Array, rows: np.ndarray) -> np.ndarray:
    """Copy ``array[rows]``; of a memory-mapped array only the pages of some rows are resident at a time.

    Args:
        array: [N, ...].
        rows: int64 of any shape.
    """
    taken = np.empty((*rows.shape, *array.shape[1:]), dtype=array.dtype)
    for first in range(0, len(rows), _ROWS):
        taken[first : first + _ROWS] = array[rows[first : first + _ROWS]]
        release(array)
    return taken


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


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a JSONL file; a last line torn by a kill is left out. A missing file has no lines."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def fingerprint(value: Any) -> str:
    """Return the sha256 (16 hex digits) of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
