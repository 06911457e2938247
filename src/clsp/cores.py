"""Cores: how many this process may use, and how many of them other work keeps busy."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

_WINDOW = 0.4
"""Seconds over which the load is measured: the kernel counts in hundredths of a second."""

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def allowed() -> frozenset[int]:
    """The cores on which this process may run, by their numbers: fewer where a job or ``taskset`` binds it to some."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # not on macOS
        return frozenset(process.cpu_affinity())
    return frozenset(range(os.cpu_count() or 1))


def usable() -> int:
    """How many cores this process may use, at least 1: those that it may run on, less where a container has fewer.

    A share of a core, as in a limit of 1.5 cores, counts for nothing: threads wait for the one that has to pause.
    """
    return max(1, int(min(len(allowed()), quota())))


def quota(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> float:
    """Cores whose time this process's control group may take (``docker --cpus``); infinite where there is no limit.

    Args:
        groups: where Linux shows the control groups, of version 1 or 2.
        own: the file that names those of this process.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return float("inf")
    found = float("inf")
    for line in lines:
        _, kinds, name = line.split(":", 2)
        if kinds and "cpu" not in kinds.split(","):
            continue
        root = groups / kinds if kinds and (groups / kinds).is_dir() else groups / "cpu" if kinds else groups
        # A container sees its own group as the root; elsewhere every group above sets a limit, too.
        below = [part for part in Path(name).parts if part != "/"]
        for depth in range(len(below) + 1):
            found = min(found, _limit(root.joinpath(*below[:depth])))
    return found


def _limit(group: Path) -> float:
    """The limit of one control group: time over period, in ``cpu.max`` or, in version 1, in two files."""
    try:
        if (group / "cpu.max").exists():
            time_, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        else:
            time_, period = (
                (group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period")
            )
        return float(time_) / float(period) if float(time_) > 0 else float("inf")
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return float("inf")


def busy(seconds: float = _WINDOW) -> float:
    """How many of the `allowed` cores others than this process keep busy, measured for so many ``seconds``.

    Niced work counts like any other: Linux weighs the processes of two sessions against each other as if none of them
    were niced (autogroups). Time that a virtual machine's host takes away counts as well.
    """
    try:
        before, own, begin = _spent(), time.process_time(), time.perf_counter()
        time.sleep(seconds)
        others, passed = _spent() - before - (time.process_time() - own), time.perf_counter() - begin
    except (OSError, ValueError, IndexError):  # a sandbox that does not show the load of its machine
        return 0.0
    return min(max(others / passed, 0.0), float(len(allowed())))


def _spent() -> float:
    """Seconds in which the `allowed` cores were not idle."""
    every = psutil.cpu_times(percpu=True)
    mine = [times for core, times in enumerate(every) if core in allowed()]
    if len(mine) < len(allowed()):  # some cores are offline, and the numbers of the others have moved up
        mine = every
    kinds = ("user", "nice", "system", "irq", "softirq", "steal")
    return sum(getattr(times, kind, 0.0) for times in mine for kind in kinds)
