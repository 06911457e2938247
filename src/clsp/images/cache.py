"""The user's cache folder, where decoded images lie between commands: how much may lie there, and what has to go.

What was used longest ago goes first. A set that a process has open stays: the process leaves a mark beside it.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import re
import shutil
import time
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from clsp import console
from clsp.processes import NODE, lives

LIMIT = 20_000_000_000
"""Bytes of decoded images that are kept."""

ALIAS = ".same"
"""Ending of a file that names the set which serves another key, too."""

_MARK = re.compile(r"\.in-use-(?P<node>\w+)-(?P<process>\d+)")
_FORGOTTEN = 30 * 86_400
"""Seconds after which the mark of another machine's process counts for nothing."""


def cache_folder() -> Path:
    """Where clsp keeps what it can make again: ``$CLSP_CACHE``, else where the system has such folders."""
    chosen = os.environ.get("CLSP_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("clsp", appauthor=False)


def image_cache() -> Path:
    """Where decoded images are kept."""
    return cache_folder() / "images"


def prepared_cache() -> Path:
    """The folder of decoded images, made where it is not there: for the user alone to read.

    Raises:
        OSError: it cannot be made or written to.
    """
    folder = image_cache()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    return folder


def has_room(folder: Path, needed: int) -> bool:
    """Make room for ``needed`` bytes in the cache by removing what was used longest ago, and say so.

    Returns:
        Whether there is room: within the limit, and on a disk of which half of the free space stays free.
    """
    sizes = {place: _size(place) for place in _sets(folder)}
    if needed > min(LIMIT, shutil.disk_usage(folder).free // 2 + sum(sizes.values())):
        return False
    removed: list[int] = []
    for place in sorted(sizes, key=_last_used):
        free = shutil.disk_usage(folder).free
        if sum(sizes.values()) - sum(removed) + needed <= LIMIT and needed <= free // 2:
            break
        if _remove(place):
            removed.append(sizes[place])
    if removed:
        console.say(
            f"images: {len(removed)} sets of decoded images that were used longest ago removed from {folder}: "
            f"{sum(removed) / 1e9:.1f} GB; at most {LIMIT / 1e9:.0f} GB are kept"
        )
    left = sum(sizes.values()) - sum(removed)
    return left + needed <= LIMIT and needed <= shutil.disk_usage(folder).free // 2


def use(place: Path) -> None:
    """Mark a set as used now, and as open in this process until it ends."""
    with contextlib.suppress(OSError):  # a cache that can only be read
        os.utime(place)
        mark = place / f".in-use-{NODE}-{os.getpid()}"
        if not mark.exists():
            mark.touch()
            atexit.register(_forget, mark, os.getpid())


def _forget(mark: Path, process: int) -> None:
    if os.getpid() == process:  # not in a child that was forked
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)


def _sets(folder: Path) -> list[Path]:
    """The sets of images in the cache, by the names that clsp gives: nothing else is ever removed."""
    with contextlib.suppress(OSError):
        return [path for path in folder.iterdir() if re.fullmatch(r"[0-9a-f]{16}", path.name) and path.is_dir()]
    return []


def _size(place: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        total = sum(path.stat().st_size for path in place.iterdir() if path.is_file())
    return total


def _last_used(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except OSError:
        return 0.0


def _remove(place: Path) -> bool:
    """Remove a set that no process has open or is making; of what lies there only files of clsp's names."""
    lock = FileLock(place / ".lock", timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError, NotImplementedError):
        return False
    try:
        if any(_is_open(path) for path in place.iterdir()):
            return False
        (place / "index.json").unlink(missing_ok=True)  # first: without it there is no set
        for path in list(place.iterdir()):
            if path.suffix == ".npy" or path.name.endswith(".clsp-tmp") or _MARK.fullmatch(path.name):
                path.unlink(missing_ok=True)
        for alias in place.parent.glob(f"*{ALIAS}"):
            if alias.read_text(encoding="utf-8", errors="replace") == place.name:
                alias.unlink(missing_ok=True)
        return True
    except OSError:  # Windows: another process has it open
        return False
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            (place / ".lock").unlink(missing_ok=True)
            place.rmdir()


def _is_open(path: Path) -> bool:
    """Whether a file is the mark of a process that lives; one of another machine is believed for a month."""
    mark = _MARK.fullmatch(path.name)
    if mark is None:
        return False
    if mark["node"] != NODE:
        return time.time() - path.stat().st_mtime < _FORGOTTEN
    return lives(int(mark["process"]))
