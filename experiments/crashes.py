"""A command that dies: in a fork of this process, by a fault, by SIGKILL, or because the power fails.

Of the power: what a program has written is safe once it was flushed (`os.fsync`), a file's content by the file's own
flush, its name by that of its folder. `Disk` remembers what was flushed, and puts a folder back to that.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clsp import distributed
from clsp.engine import watch

MODES = ("nothing unflushed", "names without contents", "names with half of the contents")
"""What a disk may have kept: it writes names and contents in any order."""


class Disk:
    """Remembers what of the files in ``root`` is safe.

    Args:
        root: the folder that is watched.
        memory: a folder on the same file system, for what is remembered.
    """

    def __init__(self, root: Path, memory: Path) -> None:
        self.root, self.memory = root, memory

    def begin(self) -> None:
        """Take all that is there for safe."""
        shutil.rmtree(self.memory, ignore_errors=True)
        for name in ("contents", "held", "names"):
            (self.memory / name).mkdir(parents=True)
        for folder, _, names in os.walk(self.root):
            self._folder_is_safe(Path(folder))
            for name in names:
                self._file_is_safe(Path(folder, name))

    def fsync(self, descriptor: int) -> None:
        """Stands for `os.fsync` in the process that may lose its power."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not path.is_relative_to(self.root):
            return
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self._folder_is_safe(path)
        else:
            self._file_is_safe(path)

    def lose(self, mode: str) -> None:
        """Put the folder back to what was safe; every process that wrote there is gone."""
        after = self.root.with_name(f"{self.root.name}.after")
        shutil.rmtree(after, ignore_errors=True)
        self._rebuild(self.root, self.root.stat().st_ino, after, mode)
        shutil.rmtree(self.root)
        after.rename(self.root)

    def _file_is_safe(self, path: Path) -> None:
        number = str(path.stat().st_ino)
        half = self.memory / "contents" / f"{number}.{os.getpid()}"
        shutil.copyfile(path, half)
        half.replace(half.with_name(number))
        held = self.memory / "held" / number  # else another file might get its number
        if not held.exists():
            held.hardlink_to(path)

    def _folder_is_safe(self, path: Path) -> None:
        number = str(path.stat().st_ino)
        found = {entry.name: [entry.inode(), entry.is_dir()] for entry in os.scandir(path)}
        half = self.memory / "names" / f"{number}.{os.getpid()}"
        half.write_text(json.dumps(found))
        half.replace(half.with_name(number))

    def _rebuild(self, now: Path, number: int, after: Path, mode: str) -> None:
        after.mkdir()
        safe = self.memory / "names" / str(number)
        names = json.loads(safe.read_text()) if safe.exists() else {}
        if mode != MODES[0] and now.is_dir():
            names = {entry.name: [entry.inode(), entry.is_dir()] for entry in os.scandir(now)}
        for name, (inner, is_folder) in names.items():
            if is_folder:
                self._rebuild(now / name, inner, after / name, mode)
            else:
                (after / name).write_bytes(self._content(now / name, inner, mode))

    def _content(self, now: Path, number: int, mode: str) -> bytes:
        kept = self.memory / "contents" / str(number)
        safe = kept.read_bytes() if kept.exists() else b""
        if mode != MODES[2]:
            return safe
        whole = now.read_bytes()
        if whole == safe:
            return whole
        begin = len(safe) if whole.startswith(safe) else 0
        return whole[: begin + (len(whole) - begin) // 2]


@dataclass(frozen=True)
class Death:
    """How a command ended."""

    statuses: list[int]
    """Exit status of each process; negative: the signal that killed it."""
    passed: list[str]
    """The fault points that the process with the fault passed."""
    said: str
    """What all of them wrote."""
    seconds: float


def attempt(
    call: Callable[[list[str]], int],
    words: Sequence[str],
    folder: Path,
    *,
    processes: int = 1,
    fault: str | None = None,
    victim: int = 0,
    disk: Disk | None = None,
    after: float | None = None,
    limit: float = 120.0,
) -> Death:
    """Run a command in forks of this process.

    Args:
        call: the command line: arguments in, status out.
        words: the arguments.
        folder: where it works, and where its log and what it says are put.
        processes: how many there are, as a launcher would have started them that does not watch them.
        fault: `CLSP_FAULT` of the process ``victim``.
        victim: the process that has the fault, or is killed.
        disk: what loses its power when a process dies: all others die with it.
        after: seconds after which the victim gets SIGKILL; None: never.
        limit: seconds after which all get SIGKILL: that is a fault of the command.
    """
    log, said = folder / "points.log", folder / "said.log"
    log.unlink(missing_ok=True)
    said.write_text("")
    shared = _launcher(processes)
    start = time.monotonic()
    alive: dict[int, int] = {}
    for rank in range(processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        if rank == victim:
            own |= {"CLSP_FAULT_LOG": str(log)} | ({"CLSP_FAULT": fault} if fault else {})
        child = os.fork()
        if child == 0:
            _live(call, list(words), folder, said, {**shared, **own}, disk)
        alive[child] = rank
    statuses = _wait(alive, victim, start, after, limit, all_die=disk is not None)
    passed = log.read_text().splitlines() if log.exists() else []
    return Death(statuses, passed, said.read_text(errors="replace"), time.monotonic() - start)


def _launcher(processes: int) -> dict[str, str]:
    if processes == 1:
        return {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    size = str(processes)
    found = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return found | {"GROUP_RANK": "0", "NODE_RANK": "0", "TORCHELASTIC_RUN_ID": "sweep"}


def _live(
    call: Callable[[list[str]], int],
    words: list[str],
    folder: Path,
    said: Path,
    variables: dict[str, str],
    disk: Disk | None,
) -> None:
    """What a fork does; it never returns."""
    status = 1
    try:
        mouth = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(mouth, number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.environ.update(variables)
        os.chdir(folder)
        distributed.stage, watch.MEETING = "start", 30.0
        os.fsync = disk.fsync if disk else lambda descriptor: None  # type: ignore[assignment]
        status = call(words)
    except SystemExit as left:
        status = int(left.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        watch.leave()  # as at the end of any other process
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def _wait(
    alive: dict[int, int], victim: int, start: float, after: float | None, limit: float, *, all_die: bool
) -> list[int]:
    statuses = dict.fromkeys(alive.values(), 0)
    while alive:
        spent = time.monotonic() - start
        for process, rank in list(alive.items()):
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                statuses[rank] = os.waitstatus_to_exitcode(status)
                del alive[process]
                if all_die and statuses[rank] == -signal.SIGKILL:
                    _kill(alive)
            elif spent > limit or (after is not None and spent > after and rank == victim):
                os.kill(process, signal.SIGKILL)
                if all_die:
                    _kill(alive)
        time.sleep(0.005)
    return [statuses[rank] for rank in sorted(statuses)]


def _kill(processes: dict[int, int]) -> None:
    for process in processes:
        os.kill(process, signal.SIGKILL)
