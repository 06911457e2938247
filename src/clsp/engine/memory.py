"""Too little memory: how it shows on each device, how much there is, and what would fit."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from clsp import distributed
from clsp.engine.heap import release_heap
from clsp.errors import UserError

if TYPE_CHECKING:
    from torch import nn

Made = TypeVar("Made")

_WORDS = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "could not create a primitive",
    "could not execute a primitive",
)
"""What torch says in a RuntimeError where an allocation failed: on a CPU there is no type of its own for it, and oneDNN
speaks of its primitives."""

_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container or a batch job may take."""

_TAKEN = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
"""And what it has taken."""

_SAFE = 0.8
"""Share of what is free that is reckoned with: memory is in pieces."""


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
    else:
        return True
    release_heap()  # what the attempt freed is the heap's until then, and libraries ask for pages besides it
    return False


def in_batches(work: Callable[[int, int], Made], count: int, size: int) -> list[Made]:
    """Do ``work`` on the rows from 0 to ``count`` in batches, fewer at once from where memory does not suffice.

    Args:
        work: called with the first row and the one after the last.
        count: rows.
        size: rows of a batch, at most.

    Returns:
        What the batches made, in order.

    Raises:
        UserError: memory does not suffice for one row.
    """
    made: list[Made] = []

    def one(first: int, last: int) -> None:
        made.append(work(first, last))

    first = 0
    while first < count:
        last = min(first + size, count)
        if fits(partial(one, first, last)):
            first = last
        elif last - first == 1:
            raise UserError(f"the memory ({_gigabytes()}) does not suffice for one image at once; make some free")
        else:
            size = (last - first + 1) // 2
    return made


def train_within(
    run: Callable[[], object],
    network: nn.Module,
    step: Callable[[int], object],
    batch: int,
    *,
    title: str,
    setting: str,
) -> None:
    """Do ``run``, a training; where its memory does not suffice, say what would fit.

    That is reckoned and not tried: near the limit libraries crash where they should complain.

    Args:
        run: the training.
        network: what is trained; it has no values afterwards if memory did not suffice.
        step: one step of it on so many images that need no memory of their own, forward and backward.
        batch: images of a step of this process.
        title: of the training.
        setting: name of its batch size.

    Raises:
        UserError: memory does not suffice; says for how many images it would.
    """
    if fits(run):
        return
    network.zero_grad(set_to_none=True)
    free, total = free_memory(), machine_memory()
    room = f"{free / 1e9:.2f} GB free of {total / 1e9:.1f}"
    lead = f"{title}: the memory ({room}) does not suffice for {batch} images a step"
    if batch < 4:
        raise UserError(f"{lead}; choose a smaller --images.size or smaller networks, or make some free")
    try:
        least, most = _peaks(network, step, (2, batch))
    except (MemoryError, RuntimeError) as error:  # too little even for that: a thread, a code page
        raise UserError(f"{lead}; choose a smaller --{setting}, half or less, or make some free") from error
    count = 2 + int((_SAFE * free - least) / max(most - least, 1.0) * (batch - 2))
    if count < 2:
        raise UserError(
            f"{lead}, nor for 2, which take {least / 1e9:.2f} GB; choose a smaller --images.size or smaller networks, "
            "or make some free"
        )
    count = min(1 << (count.bit_length() - 1), batch // 2)
    fit = count * distributed.world_size()
    lower = setting.replace("batch_size", "lr")
    raise UserError(
        f"{lead}, but for about {count}: choose --{setting} {fit} with a lower --{lower}, or make some free"
    )


def _peaks(network: nn.Module, step: Callable[[int], object], batches: Sequence[int]) -> list[float]:
    """Bytes that a step on each of ``batches`` takes with its gradient and an optimiser of two averages."""
    from clsp.engine.costs import costs

    more = 2.0 * sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    steps = [lambda _, batch=batch: step(batch) for batch in batches]
    return [cost.peak + more for cost in costs(network, steps, max(batches))]


def free_memory() -> float:
    """Bytes that this process may still take, after it gave back what it keeps."""
    import torch

    release_heap()

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        return float(torch.cuda.mem_get_info()[0])
    limits = [_available(), _allowed() - _mapped()]
    limits += [_limit(most) - _limit(now) for most, now in zip(_GROUPS, _TAKEN) if _limit(now) < float("inf")]
    return max(min(limits), 0.0)


def _available() -> float:
    """What Linux would give without swapping; elsewhere four fifths of all."""
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").is_file() else []
    found = [float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else _SAFE * _physical()


def _mapped() -> float:
    """Bytes of this process's address space; 0 where that is not known."""
    path = Path("/proc/self/statm")
    return float(path.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if path.is_file() else 0.0


def _gigabytes() -> str:
    return f"{machine_memory() / 1e9:.1f} GB"


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
