"""Files are compared with the hashes that they were made with, each when it is opened for the first time.

What is read whole is compared at once. A large file that is mapped is compared in the background: the command goes on,
and `stop_if_damaged`, which every step of a training calls, or `settle`, which waits, ends it.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from pathlib import Path

from clsp.errors import UserError
from clsp.files.foreign import ChangedError, reason
from clsp.files.ledger import RECORD, SEAL, Entry, expected, file_hash

_AT_ONCE, _ALL_AT_ONCE = 16_000_000, 64_000_000
"""Bytes: a mapped file of more, and all mapped files after so many, are compared in the background."""

_CHANGED = "it was changed or damaged after it was made, its hash is another one"

_Key = tuple[str, int, int]

_seen: set[_Key] = set()
_waiting: queue.Queue[tuple[Path, str, _Key]] = queue.Queue()
_found: list[str] = []
_mapped = 0
"""Bytes of mapped files that were compared at once."""
_started = threading.Lock()


def prove(path: Path, *, later: bool = False, known: Entry | None = None) -> None:
    """Compare a file with how it was made, unless this process did before.

    Args:
        path: the file.
        later: whether a large one may be compared in the background.
        known: its size and sha256, where the ledger that names them is none of `clsp.files.ledger`.

    Raises:
        UserError: it is another one; names it.
    """
    if path.name in (RECORD, SEAL):  # they hold their own hash
        return
    global _mapped
    stat = path.stat()
    key = (str(path.absolute()), stat.st_mtime_ns, stat.st_size)
    if key in _seen:
        return
    entry = known or expected(path)
    if entry is None:
        return
    if stat.st_size != entry.size:
        raise ChangedError(f"it has {stat.st_size:,} bytes, and was made with {entry.size:,}")
    if later and (stat.st_size > _AT_ONCE or _mapped > _ALL_AT_ONCE):
        _seen.add(key)
        _compare_later(path, entry.sha256, key)
        return
    _mapped += stat.st_size if later else 0
    if file_hash(path) != entry.sha256:
        raise ChangedError(_CHANGED)
    _seen.add(key)


def stop_if_damaged() -> None:
    """Raise what was found in the background so far.

    Raises:
        UserError: a file is damaged; names it.
    """
    if _found:
        told = _found[0]
        _found.clear()
        raise UserError(told)


def settle() -> None:
    """Wait for all comparisons in the background.

    Raises:
        UserError: a file is damaged; names it.
    """
    _waiting.join()
    stop_if_damaged()


def _told(path: Path, why: str = _CHANGED) -> str:
    return f"{path} cannot be used ({why}); 'clsp verify {path.parent} --repair' makes it again"


def _compare_later(path: Path, sha256: str, key: _Key) -> None:
    _waiting.put((path, sha256, key))
    if _started.acquire(blocking=False):
        threading.Thread(target=_work, name="clsp-proof", daemon=True).start()


def _work() -> None:
    while True:
        try:
            path, sha256, key = _waiting.get(timeout=1.0)
        except queue.Empty:
            _started.release()
            if _waiting.empty() or not _started.acquire(blocking=False):
                return
            continue
        with suppress(FileNotFoundError):  # removed since
            try:
                if file_hash(path) != sha256:
                    _found.append(_told(path))
                    _seen.discard(key)
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise
                _found.append(_told(path, reason(error)))
        _waiting.task_done()
