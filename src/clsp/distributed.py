"""The process group, where there is one; a single process is the group of one.

Importing this module imports no torch: the console asks it who may speak.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_control: Any = None
"""The group of `open_control`; None: the default group."""

stage = "start"
"""What this process works on, for messages."""


_by_itself = False


@contextmanager
def by_itself() -> Iterator[None]:
    """Count as the only process in this block: what one process tries out must not wait for the others."""
    global _by_itself
    before, _by_itself = _by_itself, True
    try:
        yield
    finally:
        _by_itself = before


def active() -> bool:
    """Return whether this process belongs to a process group."""
    if _by_itself:
        return False
    dist = sys.modules.get("torch.distributed")
    return dist is not None and dist.is_available() and dist.is_initialized()


def world_size() -> int:
    """Number of processes: from the group, else from the launcher (torchrun, SLURM, Lightning), else 1."""
    if _by_itself:
        return 1
    if active():
        return int(sys.modules["torch.distributed"].get_world_size())
    return int(os.environ.get("WORLD_SIZE") or (os.environ.get("SLURM_NTASKS") if under_srun() else None) or 1)


def rank() -> int:
    """This process's number, from 0: from the group, else from the launcher, else 0."""
    if _by_itself:
        return 0
    if active():
        return int(sys.modules["torch.distributed"].get_rank())
    slurm = os.environ.get("SLURM_PROCID") if under_srun() else None
    return int(os.environ.get("RANK") or slurm or os.environ.get("LOCAL_RANK") or 0)


def local_rank() -> int:
    """This process's number on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK") or (os.environ.get("SLURM_LOCALID") if under_srun() else None) or 0)


def under_srun() -> bool:
    """Whether srun started this process as one of its tasks.

    A batch script sees SLURM's variables too, and so does an interactive shell, which is a step of one process.
    """
    return "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def gather(rows: Tensor) -> Tensor:
    """Concatenate ``rows`` [B, ...] of all processes to [world * B, ...], in order of rank, with gradient.

    The gradient of each process's rows is the sum over all processes' losses, as it must be for a loss over the
    global batch; DDP's averaging of parameter gradients then makes it the gradient of the mean of the processes'
    losses, which equals the one-process loss when each process takes the mean over its own anchors.
    """
    return rows if world_size() == 1 else _gather_function().apply(rows)


def gather_detached(rows: Tensor) -> Tensor:
    """Like `gather`, without gradient: for keys and memories."""
    if world_size() == 1:
        return rows.detach()
    import torch
    import torch.distributed as dist

    rows = rows.detach().contiguous()
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    dist.all_gather(parts, rows)
    return torch.cat(parts)


def open_control() -> None:
    """Open the group in which processes wait for each other and exchange small values: on the CPU, without a limit.

    A process that dies closes its connections, so that the others do not wait for it.
    """
    global _control
    if active() and _control is None:
        import torch.distributed as dist

        _control = dist.new_group(backend="gloo", timeout=timedelta(days=30))


def barrier() -> None:
    """Wait until all processes are here."""
    if active():
        import torch.distributed as dist

        dist.barrier(group=_control)


def agreed(value: Any) -> Any:
    """Return the first process's ``value``, a plain one, in all processes; those wait for it."""
    if not active():
        return value
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0, group=_control)
    return box[0]


def everyone(value: Any) -> list[Any]:
    """Return the ``value``, a plain one, of every process, in order of rank; all wait for each other."""
    if not active():
        return [value]
    import torch.distributed as dist

    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, value, group=_control)
    return found


def largest(value: int) -> int:
    """Return the largest of all processes' ``value``."""
    if not active():
        return value
    import torch
    import torch.distributed as dist

    box = torch.tensor(value)
    dist.all_reduce(box, dist.ReduceOp.MAX, group=_control)
    return int(box)


def rows(count: int, device: Any = None) -> Tensor:
    """Places of this process's ``count`` rows among those that `gather` returns: int64 [count]."""
    import torch

    return torch.arange(count, device=device) + rank() * count


@cache
def _gather_function() -> Any:
    """Make the autograd function of `gather`, once torch is there."""
    import torch
    import torch.distributed as dist

    class Gather(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, rows: Tensor) -> Tensor:
            return gather_detached(rows)

        @staticmethod
        def backward(context: Any, gradient: Tensor) -> Tensor:
            gradient = gradient.clone(memory_format=torch.contiguous_format)  # autograd may share it
            dist.all_reduce(gradient)
            return gradient.chunk(world_size())[rank()]

    return Gather
