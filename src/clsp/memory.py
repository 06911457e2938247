"""How much memory this process may take: of the machine, or less where a container, a job or ulimit allows less."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container or a batch job may take."""

_TAKEN = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
"""And what it has taken."""


def machine_memory() -> float:
    """Bytes that this process may have in all."""
    limits = [float(psutil.virtual_memory().total), *map(_limit, _GROUPS), _allowed()]
    return min(limit for limit in limits if limit > 0)


def free_memory() -> float:
    """Bytes that it may still take without swapping."""
    limits = [float(psutil.virtual_memory().available), _allowed() - psutil.Process().memory_info().vms]
    limits += [_limit(most) - _limit(now) for most, now in zip(_GROUPS, _TAKEN) if _limit(now) < float("inf")]
    return max(min(limits), 0.0)


def _limit(path: str) -> float:
    """A limit that a file states in bytes; infinite where there is none."""
    try:
        return float(Path(path).read_text().strip())
    except (OSError, ValueError):  # no such file, or "max"
        return float("inf")


def _allowed() -> float:
    """The limit of this process's address space; infinite where there is none."""
    if sys.platform == "win32":
        return float("inf")
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return float("inf") if soft == resource.RLIM_INFINITY else float(soft)
