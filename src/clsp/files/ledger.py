"""Which hash each file was made with: a ledger lies beside the files, in ``stage.json`` or ``checksums.json``.

A ledger is JSON with ``files``, the sha256 and the size of each file by its name below the ledger's folder, and
``sha256``, its own: of the rest of itself. A stage that is not finished, and one of an older version, has none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from clsp.files.foreign import ChangedError, foreign

RECORD, SEAL = "stage.json", "checksums.json"
"""Of a stage; of what stands around stages."""

_ABOVE = 4
"""Folders above a file in which a ledger may name it."""


@dataclass(frozen=True)
class Entry:
    """A file as it was made."""

    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class Ledger:
    """What was made in a folder."""

    path: Path
    files: Mapping[str, Entry] = field(default_factory=dict)
    """By their names below the folder, with ``/``."""

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.path.parent


_known: dict[tuple[str, int, int], Ledger] = {}


def entries(folder: Path, patterns: Iterable[str], known: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Measure the files of a folder that match ``patterns``: a ledger's ``files``.

    Args:
        folder: where they lie.
        patterns: of names below it.
        known: sha256 of some of them by name, which were hashed before.
    """
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    names = {path.relative_to(folder).as_posix(): path for path in found}
    hashes = known or {}
    return {
        name: asdict(Entry(path.stat().st_size, hashes.get(name) or file_hash(path))) for name, path in names.items()
    }


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ledger's record with its own hash."""
    return {**record, "sha256": signature(record)}


def signature(record: Mapping[str, Any]) -> str:
    """The sha256 of a record, without the one that it holds."""
    rest = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def require_signed(path: Path, record: Any) -> None:
    """Refuse a ledger that was changed after it was written; one without a hash is an older version's.

    Raises:
        UserError: names it.
    """
    signed = isinstance(record, dict) and record.get("status", "finished") == "finished"
    if signed and record.get("sha256") not in (None, signature(record)):
        with foreign(path):
            raise ChangedError("it was changed or damaged after it was written")


def ledger_of(path: Path) -> Ledger:
    """Read a ledger; one that is missing names no files.

    Raises:
        UserError: it is damaged.
    """
    from clsp.files.reading import read_json

    try:
        stat = path.stat()
    except OSError:
        return Ledger(path)
    key = (str(path), stat.st_mtime_ns, stat.st_size)
    if key not in _known:
        record = read_json(path)
        require_signed(path, record)
        _known[key] = Ledger(path, _listed(path, record))
    return _known[key]


def _listed(path: Path, record: Any) -> dict[str, Entry]:
    """What a record lists, once it is finished."""
    if not isinstance(record, dict) or record.get("status", "finished") != "finished":
        return {}
    with foreign(path):
        return {
            name: Entry(int(entry["size"]), str(entry["sha256"])) for name, entry in record.get("files", {}).items()
        }


def ledgers_above(path: Path) -> Iterable[Ledger]:
    """The ledgers in the folders around ``path``, the nearest first."""
    for folder in list(path.absolute().parents)[:_ABOVE]:
        for name in (RECORD, SEAL):
            if (folder / name).is_file():
                yield ledger_of(folder / name)


def expected(path: Path) -> Entry | None:
    """How ``path`` was made, as the nearest ledger that names it says; None: nobody knows."""
    whole = path.absolute()
    for ledger in ledgers_above(whole):
        name = whole.relative_to(ledger.folder).as_posix()
        if name in ledger.files:
            return ledger.files[name]
    return None


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
