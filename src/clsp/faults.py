"""The seam through which the tests make faults happen (SQLite's method: fail the n-th operation).

``CLSP_FAULT=POINT:N:KIND`` acts when the point named POINT is passed for the N-th time (from 1) in this process:
``kill`` sends SIGKILL to the process, ``enospc`` and ``eio`` raise that OSError, ``nan`` and ``oom`` are answered to
the caller, who knows what they mean there. Points: ``write`` (an atomic write is about to be renamed), ``step``
(a training step), ``shard`` (a bank shard is about to be generated), ``loss`` (a loss was computed),
``gradient`` (its gradient was), ``draw`` (candidates are about to be drawn).
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()


def point(name: str) -> str | None:
    """Pass the fault point ``name``; return ``"nan"`` or ``"oom"`` when that is to happen here, else None."""
    wanted = os.environ.get("CLSP_FAULT")
    if not wanted:
        return None
    where, number, kind = wanted.split(":")
    if where != name:
        return None
    _passed[name] += 1
    if _passed[name] != int(number):
        return None
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind in ("enospc", "eio"):
        code = errno.ENOSPC if kind == "enospc" else errno.EIO
        raise OSError(code, os.strerror(code))
    return kind
