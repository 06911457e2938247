"""A stage: one folder, made once from stated settings and inputs, resumed when it was interrupted."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from clsp import console, distributed, files
from clsp._version import __version__
from clsp.engine.heap import keep_heap
from clsp.errors import InUseError, UserError


@dataclass(kw_only=True)
class Stage:
    """The state of a stage, kept in ``FOLDER/stage.json``, which is written last when the stage is done."""

    name: str
    folder: Path
    settings: dict[str, Any]
    """The values of the recipe that determine the result."""
    inputs: dict[str, str]
    """Fingerprints of what the stage reads: the data, the model, the bank."""
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
            }
            files.write_json(self.folder / "stage.json", record)


@contextmanager
def stage(
    name: str,
    folder: Path,
    *,
    settings: dict[str, Any],
    inputs: dict[str, str],
    defaults: dict[str, Any] | None = None,
) -> Iterator[Stage]:
    """Open the stage ``name`` in ``folder``; the block does the work unless ``finished`` says that it was done.

    When the block ends without an exception the stage is marked as finished. While it runs, the folder is locked.

    Args:
        name: for messages.
        folder: where it lies; made where it is not there.
        settings: the values that determine the result.
        inputs: fingerprints of what the stage reads.
        defaults: the settings' defaults, for what an older version made (see `completed`).

    Raises:
        UserError: the folder holds the result of other settings or inputs.
        InUseError: another process works in it.
    """
    settings, defaults, opened = plain(settings), plain(defaults or {}), time.time()
    _ensure_folder(folder)
    with _locked(folder, name):
        record = files.read_json(folder / "stage.json") if (folder / "stage.json").exists() else None
        if record is not None:
            record["settings"] = completed(record["settings"], defaults)
            _require_same(name, folder, record, settings, inputs)
        current = Stage(name=name, folder=folder, settings=settings, inputs=inputs)
        if record is not None:
            current.finished, current.facts = record["status"] == "finished", record["facts"]
            current.seconds = record["seconds"]
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
        _wait_until_finished(current, opened)


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as they are after they were written and read."""
    read: dict[str, Any] = files.json.loads(files.json.dumps(settings))
    return read


def completed(stored: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return settings that an older version stored with the options that came since, at their defaults.

    A new option's default is to change nothing, so what was made before it is what its default would make: work of
    months goes on after an upgrade.
    """
    known = {
        name: completed(value, usual) if isinstance(value, dict) and isinstance(usual, dict) else value
        for name, value in stored.items()
        for usual in [defaults.get(name)]
    }
    return {**defaults, **known}


def _wait_until_finished(current: Stage, opened: float) -> None:
    """Let the other processes of a launcher wait for the first one, which writes the results, and take its facts.

    Args:
        current: the stage.
        opened: when this process opened it, in seconds since the epoch; what an earlier attempt left is older.

    Raises:
        SystemExit: the first process failed, or the launcher is gone.
    """
    if distributed.rank() == 0:
        return
    path, launcher = current.folder / "stage.json", os.getppid()
    while True:
        record: dict[str, Any] = files.read_json(path) if path.exists() else {"status": "missing"}
        if record["status"] == "finished":
            break
        failed = record["status"] == "interrupted" and path.stat().st_mtime > opened
        if failed or os.getppid() != launcher:
            raise SystemExit(1)
        time.sleep(0.2)
    current.facts = record["facts"]


def _ensure_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError) as error:
        raise UserError(f"cannot make the folder {folder}: a file is in the way; choose another --out") from error
    except PermissionError as error:
        raise UserError(f"cannot write to {folder}: permission denied; choose another --out") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write to {folder}: it is read-only; choose another --out")


def _require_same(name: str, folder: Path, record: Any, settings: dict[str, Any], inputs: dict[str, str]) -> None:
    """Refuse to mix results of two settings in one folder, and never overwrite the old ones."""
    old, new = {**record["settings"], **record["inputs"]}, {**settings, **inputs}
    changed = [f"{key} {old.get(key)!r} -> {new.get(key)!r}" for key in {**old, **new} if old.get(key) != new.get(key)]
    if changed:
        raise UserError(
            f"{folder} holds a {name} made with other settings ({'; '.join(sorted(changed)[:5])}); "
            "choose another --out, or delete that folder"
        )


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    if distributed.rank() != 0:
        yield
        return
    with (folder / ".lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise InUseError(
                f"{folder} is in use by process {_holder(lock)}; wait for it, or choose another --out"
            ) from error
        except OSError as error:  # some network file systems have no locks
            console.say(f"{folder}: no lock can be held there ({error.strerror}); let no other clsp work in it")
        lock.truncate(0)
        lock.write(f"{os.getpid()} ({name})")
        lock.flush()
        yield


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip() or "unknown"
