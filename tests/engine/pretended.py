"""A machine with stated cores and a stated load."""

from __future__ import annotations

import psutil

from clsp import cores
from clsp.engine import threads


def pretend(patch, count, busy=0.0, quota=float("inf")):
    """Let this process have so many cores, some of them busy, and nobody have chosen a number of threads."""
    for name in threads._CHOSEN:
        patch.delenv(name, raising=False)
    patch.setattr(cores, "allowed", lambda: frozenset(range(count)))
    patch.setattr(cores, "quota", lambda: quota)
    patch.setattr(cores, "busy", lambda: busy)
    patch.setattr(psutil, "cpu_count", lambda logical=True: count)
