"""Too little memory: how it shows on each device, how much there is, and what would fit."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "alloc_cpu", "cannot allocate memory")
"""What torch says in a RuntimeError where an allocation failed: on a CPU there is no type of its own for it."""

_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container or a batch job may take."""


def is_too_little_memory(error: BaseException) -> bool:
    """Whether ``error`` says that an allocation failed, whatever the device.

    A GPU has torch.OutOfMemoryError; on a CPU torch raises a RuntimeError, numpy and Python a MemoryError.
    """
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def fits(work: Callable[[], object]) -> bool:
    """Do ``work``; return False where memory does not suffice for it. What it raises besides is raised.

    The answer is a value because the exception holds the frames of the attempt, and with them its tensors, as long as
    it is handled: who tries again within ``except`` has less memory than before.
    """
    try:
        work()
    except (MemoryError, RuntimeError) as error:
        if not is_too_little_memory(error):
            raise
        return False
    return True


def largest_that_fits(work: Callable[[int], object], count: int) -> int | None:
    """Halve ``count`` until ``work`` on so many fits into memory; None: not even one does."""
    while (count := count // 2) >= 1:
        if fits(partial(work, count)):
            return count
    return None


def machine_memory() -> float:
    """Bytes that this process may have: the machine's, or less where a container, a job or ulimit allows less."""
    limits = [_physical(), *map(_limit, _GROUPS), _allowed()]
    return min(limit for limit in limits if limit > 0)


def _physical() -> float:
    if hasattr(os, "sysconf"):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return _physical_on_windows()


def _physical_on_windows() -> float:
    """The field ullTotalPhys of MEMORYSTATUSEX; infinite where Windows does not say."""
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong), ("values", ctypes.c_ulonglong * 7)]

    status = Status(length=ctypes.sizeof(Status))
    windll = getattr(ctypes, "windll", None)
    known = windll is not None and windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return float(status.values[0]) if known else float("inf")


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
