"""The threads that a stage computes with: as many as there are cores that other work leaves free.

Threads that share a core with other work make the others wait at the end of every operation. So a stage begins by
looking what is free. Sums of another number of threads are rounded otherwise: a stage that goes on keeps its number.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from clsp import console, cores, distributed
from clsp.processes import NODE

_CHOSEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Where a user, or a launcher, says how many threads a process has."""


@dataclass(frozen=True, kw_only=True)
class Threads:
    """How many threads this process computes with, and why."""

    number: int
    most: int
    """What it had if it were alone on the machine."""
    cores: int
    """That it may use."""
    busy: int = 0
    """Cores that other work keeps busy."""
    processes: int = 1
    """Of this run, which share the cores."""
    chosen: bool = False
    """Whether the user chose the number."""

    def __str__(self) -> str:
        told = f"{_count(self.cores)} core{'s' * (self.cores > 1)}"
        if self.busy:
            told += f", {'all' if self.busy == self.cores > 1 else _count(self.busy)} busy with other work"
        if self.processes > 1:
            told += f", shared by {self.processes} processes"
        return f"{told}: {threads(self.number)}{' each' * (self.processes > 1)}"


@dataclass
class _State:
    """What this process has done about its threads."""

    own: int | None = None
    """What torch took by itself."""
    bound: int | None = None
    """What was set last; None: nothing was."""
    told: str = ""


_state = _State()


def bind(title: str = "", begun: int | None = None, *, processes: int | None = None) -> Threads:
    """Let torch, and what else computes here, have as many threads as cores are free; say so where these are not all.

    The number is the same in all processes of a group, which must call this together. A number that the user chose
    (``OMP_NUM_THREADS``, or ``torch.set_num_threads``) stays, and nothing is measured.

    Args:
        title: of the stage, for messages.
        begun: the number with which the stage was begun; it is kept, for the same bytes.
        processes: how many share the cores; None: those of the group that are on this machine.
    """
    found = distributed.agreed(_users()) or _measured(processes, begun)
    if begun and found.number != begun:
        why = "chosen" if found.chosen else "there are"
        console.say(
            f"{title}: was begun with {threads(begun)} and goes on with {found.number}, as {why} now; "
            "its last digits may be others"
        )
    elif begun and found.number < found.most:
        console.say(f"{title}: goes on with {threads(begun)}, as it was begun")
    elif found.number < found.most and not found.chosen and str(found) != _state.told:
        _state.told = str(found)
        console.say(str(found))
    if not found.chosen:
        _set(found.number)
    return found


def threads(number: int) -> str:
    """Write ``one thread``, ``2 threads``."""
    return f"{_count(number)} thread{'s' * (number != 1)}"


@contextmanager
def limited(most: int | None = None) -> Iterator[None]:
    """Let all libraries, those too that were loaded after `bind` (scikit-learn), have as many threads in this block.

    Args:
        most: fewer, where the work is small; None: as many as torch was given.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(most or _state.bound):
        yield


@contextmanager
def kept() -> Iterator[None]:
    """Keep torch's number, and what the environment says of it, over a launch: Lightning sets both for the user."""
    import torch

    number, said = torch.get_num_threads(), os.environ.get(_CHOSEN[0])
    try:
        yield
    finally:
        torch.set_num_threads(number)
        if said is None:
            os.environ.pop(_CHOSEN[0], None)


def _users() -> Threads | None:
    """The number that the user chose; None: torch, or a call of `bind`, did."""
    import torch

    now = torch.get_num_threads()
    there = len(cores.allowed())
    usual = {there, min(there, psutil.cpu_count(logical=False) or there)}  # MKL takes one thread a physical core
    if not any(os.environ.get(name) for name in _CHOSEN) and (now == _state.bound or now in usual):
        return None
    _state.bound = None
    return Threads(number=now, most=now, cores=cores.usable(), chosen=True)


def _measured(processes: int | None, begun: int | None) -> Threads:
    """The number that fits what is free, the least of all processes; ``begun`` instead, where there are so many."""
    import torch

    if _state.bound is None or torch.get_num_threads() != _state.bound:
        _state.own = torch.get_num_threads()
    usable = cores.usable()
    sharing = processes or _neighbours()
    most = max(min(_state.own or usable, usable) // sharing, 1)
    if begun:
        number = min(begun, max(usable // sharing, 1))
        return Threads(number=_least(number), most=most, cores=usable, processes=sharing)
    # A container's share may be less than the cores that it runs on: others are then in its way on few of them.
    free = usable if most == 1 else min(len(cores.allowed()) - int(cores.busy() + 0.5), usable)
    number = _least(max(min(most, free // sharing), 1))
    return Threads(number=number, most=most, cores=usable, busy=usable - free, processes=sharing)


def _least(number: int) -> int:
    return -distributed.largest(-number)


def _neighbours() -> int:
    """Processes of the group that share cores with this one; all of them wait here, so that none keeps a core busy."""
    own = (NODE, sorted(cores.allowed()))
    return sum(node == own[0] and not set(own[1]).isdisjoint(some) for node, some in distributed.everyone(own))


def _set(number: int) -> None:
    """Set the number in torch, and in the libraries of linear algebra that are loaded."""
    import torch
    from threadpoolctl import threadpool_limits

    if torch.get_num_threads() != number:
        torch.set_num_threads(number)
    if _state.bound is not None or number != _state.own:
        threadpool_limits(number, user_api="blas")  # lasts: nothing ends it
    _state.bound = number


def _count(number: int) -> str:
    return "one" if number == 1 else str(number)
