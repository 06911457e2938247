"""The seam through which the tests make faults happen (SQLite's method: fail the n-th operation).

``CLSP_FAULT=POINT:N:KIND`` acts when the point named POINT is passed for the N-th time (from 1) in this process;
POINT ``any`` counts them all. ``kill`` sends SIGKILL to the process, ``enospc`` and ``eio`` raise that OSError, ``nan``
and ``oom`` are answered to the caller, who knows what they mean there. ``CLSP_FAULT_LOG=FILE`` writes down the names of
the points that are passed, each behind the stage that it is passed in. Points: see `POINTS`.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from pathlib import Path

from clsp import distributed
from clsp.text import is_whole

POINTS = {
    "folder": "a folder was made, and its parent is not flushed yet",
    "written": "the content of a file was written, and is not flushed yet",
    "write": "it is flushed, and about to be renamed",
    "renamed": "it was renamed, and the folder is not flushed yet",
    "append": "lines were appended to a log, and are not flushed yet",
    "move": "a file of an older result is about to be set aside",
    "remove": "a file is about to be removed",
    "step": "a training step was done",
    "loss": "a loss was computed",
    "gradient": "its gradient was",
    "shard": "a shard of a bank is about to be drawn",
    "draw": "candidates are about to be drawn",
    "measure": "an evaluator is about to be asked",
}
"""What each point means."""

KINDS = ("kill", "enospc", "eio", "nan", "oom")

_passed: Counter[str] = Counter()


def point(name: str) -> str | None:
    """Pass the fault point ``name``; return ``"nan"`` or ``"oom"`` when that is to happen here, else None.

    Raises:
        UserError: ``CLSP_FAULT`` is no POINT:N:KIND.
        OSError: a full or a broken disk was asked for.
    """
    if log := os.environ.get("CLSP_FAULT_LOG"):
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{distributed.stage}: {name}\n")
    wanted = os.environ.get("CLSP_FAULT")
    if not wanted:
        return None
    where, number, kind = _read(wanted)
    if where not in (name, "any"):
        return None
    _passed[where] += 1
    if _passed[where] != number:
        return None
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind in ("enospc", "eio"):
        code = errno.ENOSPC if kind == "enospc" else errno.EIO
        raise OSError(code, os.strerror(code))
    return kind


def _read(wanted: str) -> tuple[str, int, str]:
    from clsp.errors import UserError

    where, _, rest = wanted.partition(":")
    number, _, kind = rest.partition(":")
    if where not in (*POINTS, "any") or not is_whole(number) or kind not in KINDS:
        raise UserError(
            f"CLSP_FAULT={wanted!r} is no POINT:N:KIND with a POINT of {', '.join(POINTS)} or any, and a KIND of "
            f"{', '.join(KINDS)}; unset it: it makes faults happen for tests"
        )
    return where, int(number), kind
