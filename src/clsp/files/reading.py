"""Readers of every kind of file: what is damaged, strange or changed since it was made ends as one line.

Each reads a regular file alone, compares it with the hash that it was made with where one is known
(`clsp.files.proof`), and checks sizes before memory is asked for.
"""

from __future__ import annotations

import json
import math
import warnings
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import yaml
from pydantic import TypeAdapter

from clsp.files.foreign import FIX, foreign, regular, require_plain
from clsp.files.proof import prove

if TYPE_CHECKING:
    from torch import Tensor

Kind = TypeVar("Kind")

_MOST = 100_000
"""Values in a YAML file."""


def read_bytes(path: Path, *, fix: str = FIX) -> bytes:
    """Read a file.

    Raises:
        UserError: it is missing, no regular file, or not what was made.
    """
    with foreign(path, fix):
        return _bytes(path)


def _bytes(path: Path) -> bytes:
    prove(regular(path))
    return path.read_bytes()


def read_text(path: Path, *, fix: str = FIX, errors: str = "strict") -> str:
    """Read a text in UTF-8.

    Raises:
        UserError: likewise, or it is no UTF-8.
    """
    with foreign(path, fix):
        return _bytes(path).decode("utf-8", errors)


@overload
def read_json(path: Path, *, fix: str = ..., what: str = ...) -> Any: ...
@overload
def read_json(path: Path, kind: type[Kind], *, fix: str = ..., what: str = ...) -> Kind: ...
def read_json(path: Path, kind: Any = Any, *, fix: str = FIX, what: str = "cannot be read") -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        kind: what it holds: a dataclass, or any other type that pydantic knows.
        fix: what the user is to do where it is damaged.
        what: what is said of it then.

    Raises:
        UserError: it is missing, is no JSON, holds NaN or something else than ``kind``.
    """
    with foreign(path, fix, what=what):
        text = _bytes(path).decode()
    with foreign(path, fix, what="is no valid JSON"):
        value = json.loads(text)
    with foreign(path, fix, what=what):
        require_plain(value)
    return value if kind is Any else valid(value, kind, path, fix=fix, what=what)


def valid(value: Any, kind: type[Kind], path: Path, *, fix: str = FIX, what: str = "cannot be read") -> Kind:
    """Return what was read of ``path`` as a ``kind``.

    Raises:
        UserError: it is something else.
    """
    with foreign(path, fix, what=what):
        adapter: TypeAdapter[Kind] = _adapter(kind)  # type: ignore[arg-type]
        made: Kind = adapter.validate_python(value)
        return made


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_yaml(path: Path, *, fix: str = FIX) -> dict[str, Any]:
    """Read a YAML file that holds a mapping of plain values: no dates, no binary, nothing that holds itself.

    Raises:
        UserError: it is missing, is no YAML, or holds something else.
    """
    with foreign(path, fix, what="is no valid YAML"):
        value = yaml.safe_load(read_text(path, fix=fix))
    with foreign(path, fix):
        if not isinstance(value, dict):
            raise TypeError(f"it is to be a mapping of sections, and holds {type(value).__name__}")
        require_plain(value, _MOST)
        return value


def read_jsonl(path: Path, *, fix: str = "delete that line") -> list[dict[str, Any]]:
    """Read the lines of a log: objects with a ``step``; NaN is null. A missing file has no lines.

    Raises:
        UserError: a line is damaged. A last line that a kill tore, and that no line break ends, is left out.
    """
    if not path.exists():
        return []
    lines = read_bytes(path, fix=fix).split(b"\n")
    records = []
    for number, line in enumerate(lines, 1):
        try:
            with foreign(f"{path}, line {number},", fix):
                records.extend(_records(line))
        except ValueError:
            if number < len(lines):
                raise
    return records


def _records(line: bytes) -> list[dict[str, Any]]:
    """The record of a line; none of an empty one."""
    if not line.strip():
        return []
    record = json.loads(line, parse_constant=lambda name: None)
    require_plain(record)
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        raise TypeError("it is no object with a step")
    return [record]


def read_array(path: Path, *, mapped: bool = False, fix: str = FIX) -> np.ndarray:
    """Read a ``.npy`` file, memory-mapped if ``mapped``. Object arrays, which are pickles, are refused.

    Raises:
        UserError: it is missing or damaged, or its size is not the one that its header says.
    """
    with foreign(path, fix):
        prove(regular(path), later=mapped)
        with path.open("rb") as file:
            shape = check_header(file, path.stat().st_size)
        mode: Any = "r" if mapped and 0 not in shape else None  # nothing can be mapped of an empty array
        array: np.ndarray = np.load(path, mmap_mode=mode, allow_pickle=False)
        return array


def check_header(file: IO[bytes], size: int) -> tuple[int, ...]:
    """Read the header of a ``.npy`` file of ``size`` bytes, and refuse one that lies; return the array's shape.

    Raises:
        ValueError: it holds objects, its shape is none, or the file has another length.
    """
    version = np.lib.format.read_magic(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects (a pickle)")
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError(f"its shape is {shape}")
    told = file.tell() + math.prod(shape) * dtype.itemsize
    if told != size:
        raise ValueError(f"it has {size:,} bytes, and its header says {told:,}")
    return tuple(shape)


def read_header(path: Path, *, fix: str = FIX) -> list[str]:
    """Compare a safetensors file with its hash, and return the names of its tensors, unread.

    Raises:
        UserError: it is missing, damaged, or no safetensors.
    """
    from safetensors import safe_open

    with foreign(path, fix):
        prove(regular(path))
        with safe_open(path, framework="pt") as file:
            return list(file.keys())


def read_tensors(
    path: Path, *, fix: str = FIX, what: str = "cannot be read"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: its tensors by name, on the CPU, and what its header says besides.

    Raises:
        UserError: it is missing, damaged, or no safetensors.
    """
    from safetensors import safe_open

    with foreign(path, fix, what=what):
        prove(regular(path))
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
