"""The ``clsp`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_SPINS = 10_000
"""How often libgomp, torch's OpenMP on Linux, asks again before a thread that waits gives its core away.

By default it asks 300,000 times, some milliseconds, in each of hundreds of operations a step. Where the thread that it
waits for has no core, because other work has it, all of that is lost. Fewer than this cost an idle machine a tenth to a
third of its time, for threads that sleep have to be woken; this many cost it nothing (`benchmarks/busy.py`).
"""

_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Where a user says otherwise."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, see ``clsp --help``."""
    if not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = str(_SPINS)  # before torch is loaded; processes that are started inherit it

    from clsp.cli.main import dispatch

    try:
        status = dispatch(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


if __name__ == "__main__":
    sys.exit(main())
