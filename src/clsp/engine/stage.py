"""A stage: one folder, made once from stated settings and inputs, resumed when it was interrupted."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clsp import console, distributed, faults, files
from clsp._version import __version__
from clsp.engine import threads, watch
from clsp.engine.heap import keep_heap
from clsp.engine.record import read_record, stored_record
from clsp.errors import InUseError, UserError
from clsp.files.ledger import RECORD as _RECORD
from clsp.settings.identity import identity

_LOCK, _SUPERSEDED = ".lock", "superseded"


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
    threads: int | None = None
    """With how many it was begun, and goes on after a kill: sums of other numbers are rounded otherwise."""
    makes: Sequence[str] = ()
    """Patterns of the names of the files that it makes: their hashes are written down when it is finished."""
    hashes: dict[str, str] = field(default_factory=dict)
    """The sha256 of some of them by name, which were computed when they were written."""
    _started: float = field(default_factory=time.monotonic)
    _begun: bool = False

    def spent(self) -> float:
        """Return the wall time spent until now, over all attempts."""
        return self.seconds + time.monotonic() - self._started

    def keep_time(self) -> None:
        """Write down the time spent so far, so that a kill loses no more of it than of the work."""
        self.save("running")

    def save(self, status: str) -> None:
        """Write stage.json with the time spent so far.

        Raises:
            UserError: the folder was removed meanwhile.
        """
        if self._begun:
            require_there(self.folder)
        self._begun = True
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
                "threads": self.threads,
                "version": __version__,
                "process": f"{os.getpid()} of {platform.node()}",
            }
            if self.finished:
                record = files.sealed({**record, "files": files.entries(self.folder, self.makes, self.hashes)})
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
    makes: Sequence[str] = (),
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
        makes: patterns of the names of the files that it makes, see `Stage.makes`.
        alone: whether the first of several processes does it by itself, and the others are elsewhere.
        hint: what else could be done with the result of other settings.

    Raises:
        UserError: the folder holds the result of other settings or data.
        InUseError: another process works in it.
    """
    more = {**({} if seed is None else {"seed": seed}), **(settings or {})}
    wanted, usual = as_stored({**more, **identity(config)}), as_stored(identity(config, usual=True))
    watch.enter(name)
    with watch.reported(), _locked(_ensured(folder)):
        current = Stage(name=name, folder=folder, settings=wanted, inputs={"data": data, **(made or {})}, makes=makes)
        if distributed.rank() == 0:
            files.sweep(folder)  # also where it is finished: a kill may have come while its recipe was written
        _take_up(current, usual, alone=alone, hint=hint)
        if current.finished:
            console.say(f"{name}: done before, in {console.duration(current.seconds)} ({folder})")
            yield current
            files.settle()
            return
        keep_heap()
        with distributed.by_itself() if alone else nullcontext():
            current.threads = threads.bind(name, current.threads).number
        try:
            current.save("running")
            yield current
            files.settle()  # nothing counts as made from files that turn out to be damaged
        except BaseException:
            if folder.is_dir():
                current.save("interrupted")
            raise
        current.save("finished")
        current.facts = current.facts if alone else distributed.agreed(current.facts)


def require_there(folder: Path) -> None:
    """Refuse to go on in a folder that is gone: what was written there before went with it.

    Raises:
        UserError: somebody removed it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} was removed while clsp worked in it; run the same command again to make it anew")


def as_stored(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as they are after they were written and read."""
    read: dict[str, Any] = json.loads(json.dumps(settings))
    return read


def _take_up(current: Stage, usual: dict[str, Any], *, alone: bool, hint: str) -> None:
    """Go on with what the folder holds of this stage."""
    record = stored_record(current.folder)
    if record is not None:
        _require_same(current, {**completed(record["settings"], usual), "data": record["inputs"].get("data")}, hint)
    if not alone:
        distributed.barrier()  # all have read before the first process writes
    if record is None:
        return
    if record["inputs"] != current.inputs or record["status"] == _SUPERSEDED:
        _set_aside(current, record)
        return
    current.finished, current.facts = record["status"] == "finished", record["facts"]
    current.seconds, current.threads = record["seconds"], record["threads"]


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


def _set_aside(current: Stage, old: dict[str, Any]) -> None:
    """Keep a result that was made from other results than today's, out of the way.

    Args:
        current: the stage of today.
        old: the record of what is there.
    """
    made, today = old["inputs"], current.inputs
    changed = ", ".join(sorted(key for key in {**made, **today} if made.get(key) != today.get(key)))
    aside = _place_for(current.folder, made)
    console.say(
        f"{current.name}: {f'another {changed} than before' if changed else 'its files were being set aside'}; "
        f"what was made from the old one is kept in {aside}"
    )
    if distributed.rank() == 0:
        # From here on it is no result: after a kill midway even who returns to its inputs finds it in parts.
        files.write_json(current.folder / _RECORD, {**old, "status": _SUPERSEDED})
        files.make_folder(aside)
        # The record goes last: where a kill left some of the files, the rest follows them in the next attempt.
        for path in sorted(current.folder.iterdir(), key=lambda path: path.name == _RECORD):
            if path.name not in (_LOCK, _SUPERSEDED):
                faults.point("move")
                if path.name == _RECORD:
                    files.flush_folder(aside)
                path.replace(aside / path.name)
        files.flush_folder(aside)
    distributed.barrier()  # nobody goes on from a checkpoint of the old result


def _place_for(folder: Path, inputs: dict[str, str]) -> Path:
    """Return where what was made from ``inputs`` is kept: a folder that no earlier result of theirs has taken."""
    place = first = folder / _SUPERSEDED / files.fingerprint(inputs)
    number = 1
    while (place / _RECORD).exists():
        number += 1
        place = first.with_name(f"{first.name}-{number}")
    return place


def _ensured(folder: Path) -> Path:
    try:
        files.make_folder(folder)
    except (NotADirectoryError, FileExistsError) as error:
        raise UserError(f"cannot make the folder {folder}: a file is in the way; choose another --out") from error
    except PermissionError as error:
        raise UserError(f"cannot write to {folder}: permission denied; choose another --out") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write to {folder}: it is read-only; choose another --out")
    return folder


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
    with suppress(UserError):
        record = read_record(folder)
        return record.process if record else "unknown"
    return "unknown"
