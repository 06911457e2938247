"""The record of a stage, ``stage.json``: what it is, what it was made from, and the hash of each file that it made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveInt

from clsp import files
from clsp.errors import UserError
from clsp.files.ledger import RECORD, require_signed

_FIX = "delete it, and repeat the command that made it: what else is there is kept"


@dataclass(frozen=True)
class _File:
    size: NonNegativeInt
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """What ``stage.json`` says."""

    stage: str
    status: str
    """``running``, ``interrupted`` or ``finished``."""
    seconds: float
    """Wall time spent so far."""
    settings: dict[str, Any]
    inputs: dict[str, str]
    """Fingerprints of what the stage reads."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the stage found out about its result."""
    threads: PositiveInt | None = None
    """With how many it was computed; older versions did not say."""
    version: str = ""
    process: str = "unknown"
    files: dict[str, _File] = field(default_factory=dict)
    """What it made, by names below its folder."""
    path: Path = Path(RECORD)

    @property
    def finished(self) -> bool:
        """Whether the stage was done."""
        return self.status == "finished"

    def number(self, fact: str) -> float:
        """Return a fact that is a number.

        Raises:
            UserError: it is none, or missing.
        """
        value = self.facts.get(fact)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{self.path} is damaged: its fact {fact} is {value!r:.40}, not a number; {_FIX}")
        return float(value)


def read_record(folder: Path) -> Record | None:
    """Read the record of the stage in ``folder``; None: there is none.

    Raises:
        UserError: it is damaged, or was changed after it was written.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    raw = files.read_json(path, fix=_FIX)
    require_signed(path, raw)
    return replace(files.valid(raw, Record, path, fix=_FIX), path=path)


def stored_record(folder: Path) -> dict[str, Any] | None:
    """Like `read_record`, as a mapping; what an older version did not write is there all the same.

    Raises:
        UserError: likewise.
    """
    record = read_record(folder)
    return None if record is None else {name: value for name, value in asdict(record).items() if name != "path"}


def require_record(folder: Path, fix: str = _FIX) -> Record:
    """Like `read_record`, where it must be there.

    Raises:
        UserError: it is missing or damaged.
    """
    record = read_record(folder)
    if record is None:
        raise UserError(f"{folder / RECORD} is missing; {fix}")
    return record
