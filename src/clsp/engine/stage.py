"""A stage: one folder, made once from stated settings and inputs, resumed when it was interrupted."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clsp import console, distributed, files
from clsp._version import __version__
from clsp.engine.heap import keep_heap
from clsp.errors import InUseError, UserError
from clsp.settings.identity import identity

_RECORD, _LOCK, _SUPERSEDED = "stage.json", ".lock", "superseded"


@dataclass(kw_only=True)
class Stage:
    """The state of a stage, kept in ``FOLDER/stage.json``, which is written last when the stage is done."""

    name: str
    folder: Path
    settings: dict[str, Any]
    """The values of the recipe that determine the result."""
    inputs: dict[str, str]
    """Fingerprints of what the stage reads: the data, and the results of earlier stages."""
    finished: bool = False
    seconds: float = 0.0
    """Wall time spent so far, over all attempts; of one that was killed, until it last kept its time."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the stage found out about its result."""
    _started: float = field(default_factory=time.monotonic)

    def keep_time(self) -> None:
        """Write down the time spent so far, so that a kill loses no more of it than of the work."""
        self.save("running")

    def save(self, status: str) -> None:
        """Write stage.json with the time spent so far."""
        self.finished = status == "finished"
        self.seconds += time.monotonic() - self._started
        self._started = time.monotonic()
        if distributed.rank() == 0:
            record = {
                "stage": self.name,
                "status": status,
                "seconds": round(self.seconds, 2),
                "settings": self.settings,
                "inputs": self.inputs,
                "facts": self.facts,
                "version": __version__,
                "process": f"{os.getpid()} of {platform.node()}",
            }
            files.write_json(self.folder / _RECORD, record)


@contextmanager
def stage(
    name: str,
    folder: Path,
    config: Any,
    *,
    seed: int | None = None,
    data: str,
    made: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    alone: bool = False,
    hint: str = "",
) -> Iterator[Stage]:
    """Open the stage ``name`` in ``folder``; the block does the work unless ``finished`` says that it was done.

    When the block ends without an exception the stage is marked as finished. While it runs, the folder is locked. What
    was made from another result of an earlier stage is set aside, in ``superseded/``, and made again.

    Args:
        name: for messages.
        folder: where it lies; made where it is not there.
        config: settings; those that decide the result identify it (`clsp.settings.identity`).
        seed: the run's seed, where it names random draws of the stage.
        data: the fingerprint of the data.
        made: fingerprints of what the stage reads of earlier stages, by their names.
        settings: further values that identify it.
        alone: whether the first of several processes does it by itself, and the others are elsewhere.
        hint: what else could be done with the result of other settings.

    Raises:
        UserError: the folder holds the result of other settings or data.
        InUseError: another process works in it.
    """
    more = {**({} if seed is None else {"seed": seed}), **(settings or {})}
    wanted, usual = as_stored({**more, **identity(config)}), as_stored(identity(config, usual=True))
    _ensure_folder(folder)
    with _locked(folder):
        current = Stage(name=name, folder=folder, settings=wanted, inputs={"data": data, **(made or {})})
        _take_up(current, usual, alone=alone, hint=hint)
        if current.finished:
            console.say(f"{name}: done before, in {console.duration(current.seconds)} ({folder})")
            yield current
            return
        keep_heap()
        if distributed.rank() == 0:
            files.sweep(folder)
        try:
            current.save("running")
            yield current
        except BaseException:
            current.save("interrupted")
            raise
        current.save("finished")
        current.facts = current.facts if alone else distributed.agreed(current.facts)


def as_stored(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as they are after they were written and read."""
    read: dict[str, Any] = json.loads(json.dumps(settings))
    return read


def _take_up(current: Stage, usual: dict[str, Any], *, alone: bool, hint: str) -> None:
    """Go on with what the folder holds of this stage."""
    path = current.folder / _RECORD
    record = files.read_json(path) if path.exists() else None
    if record is not None:
        _require_same(current, {**completed(record["settings"], usual), "data": record["inputs"]["data"]}, hint)
    if not alone:
        distributed.barrier()  # all have read before the first process writes
    if record is None:
        return
    if record["inputs"] != current.inputs:
        _set_aside(current, record["inputs"])
        return
    current.finished, current.facts = record["status"] == "finished", record["facts"]
    current.seconds = record["seconds"]


def completed(stored: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """Return settings that an older version stored with the options that came since, at their defaults.

    A new option's default is to change nothing, so what was made before it is what its default would make: work of
    months goes on after an upgrade.
    """
    known = {
        name: completed(value, usual[name]) if isinstance(value, dict) and isinstance(usual.get(name), dict) else value
        for name, value in stored.items()
    }
    return {**usual, **known}


def _require_same(current: Stage, old: dict[str, Any], hint: str) -> None:
    """Refuse to mix results of two settings in one folder, and never overwrite the old ones."""
    new = {**current.settings, "data": current.inputs["data"]}
    changed = [f"{key} {old.get(key)!r} -> {new.get(key)!r}" for key in {**old, **new} if old.get(key) != new.get(key)]
    if changed:
        raise UserError(
            f"{current.folder} holds a {current.name} made with other settings ({'; '.join(sorted(changed)[:5])}); "
            f"choose another --out, or delete that folder{hint}"
        )


def _set_aside(current: Stage, old: dict[str, str]) -> None:
    """Keep a result that was made from other results than today's, out of the way."""
    changed = ", ".join(sorted(key for key in {**old, **current.inputs} if old.get(key) != current.inputs.get(key)))
    aside = _place_for(current.folder, old)
    console.say(f"{current.name}: another {changed} than before; what was made from the old one is kept in {aside}")
    if distributed.rank() == 0:
        aside.mkdir(parents=True, exist_ok=True)
        # The record goes last: where a kill left some of the files, the rest follows them in the next attempt.
        for path in sorted(current.folder.iterdir(), key=lambda path: path.name == _RECORD):
            if path.name not in (_LOCK, _SUPERSEDED):
                path.replace(aside / path.name)
    distributed.barrier()  # nobody goes on from a checkpoint of the old result


def _place_for(folder: Path, inputs: dict[str, str]) -> Path:
    """Return where what was made from ``inputs`` is kept: a folder that no earlier result of theirs has taken."""
    place = first = folder / _SUPERSEDED / files.fingerprint(inputs)
    number = 1
    while (place / _RECORD).exists():
        number += 1
        place = first.with_name(f"{first.name}-{number}")
    return place


def _ensure_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError) as error:
        raise UserError(f"cannot make the folder {folder}: a file is in the way; choose another --out") from error
    except PermissionError as error:
        raise UserError(f"cannot write to {folder}: permission denied; choose another --out") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write to {folder}: it is read-only; choose another --out")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock in the first process."""
    if distributed.rank() != 0:
        yield
        return
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InUseError(
            f"{folder} is in use by process {_holder(folder)}; wait for it, or choose another --out"
        ) from error
    except (OSError, NotImplementedError) as error:  # some network file systems have no locks
        console.say(f"{folder}: no lock can be held there ({error}); let no other clsp work in it")
    try:
        yield
    finally:
        lock.release()


def _holder(folder: Path) -> str:
    path = folder / _RECORD
    return str(files.read_json(path).get("process", "unknown")) if path.exists() else "unknown"
