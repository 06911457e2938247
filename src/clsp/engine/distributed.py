"""The process group, where there is one; a single process is the group of one.

Importing this module imports no torch: the console asks it who may speak.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_RANK = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
_WORLD = ("WORLD_SIZE", "SLURM_NTASKS")


def active() -> bool:
    """Return whether this process belongs to a process group."""
    dist = sys.modules.get("torch.distributed")
    return dist is not None and dist.is_available() and dist.is_initialized()


def world_size() -> int:
    """Number of processes: from the group, else from the launcher (torchrun, SLURM, Lightning), else 1."""
    if active():
        return int(sys.modules["torch.distributed"].get_world_size())
    return int(next((os.environ[name] for name in _WORLD if name in os.environ), 1))


def rank() -> int:
    """This process's number, from 0: from the group, else from the launcher, else 0."""
    if active():
        return int(sys.modules["torch.distributed"].get_rank())
    return int(next((os.environ[name] for name in _RANK if name in os.environ), 0))


def gather(rows: Tensor) -> Tensor:
    """Concatenate ``rows`` [B, ...] of all processes to [world * B, ...], in order of rank, with gradient.

    The gradient of each process's rows is the sum over all processes' losses, as it must be for a loss over the
    global batch; DDP's averaging of parameter gradients then makes it the gradient of the mean of the processes'
    losses, which equals the one-process loss when each process takes the mean over its own share of the anchors.
    """
    if world_size() == 1:
        return rows
    from torch.distributed.nn.functional import all_gather

    return _concatenate(all_gather(rows.contiguous()))


def gather_detached(rows: Tensor) -> Tensor:
    """Like `gather`, without gradient: for keys and memories."""
    if world_size() == 1:
        return rows.detach()
    import torch.distributed as dist

    rows = rows.detach().contiguous()
    parts = [rows.new_empty(rows.shape) for _ in range(world_size())]
    dist.all_gather(parts, rows)
    return _concatenate(parts)


def _concatenate(parts: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    import torch

    return torch.cat(list(parts))
