"""Two gloo processes of a test, which meet at a file."""

from __future__ import annotations

import datetime

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn


class Flat(nn.Module):
    """An encoder without convolutions and without BatchNorm, whose statistics would differ between the processes."""

    num_features = 6

    def __init__(self, inputs):
        super().__init__()
        self.linear = nn.Linear(inputs, 6)

    def forward(self, x):
        return self.linear(x.flatten(1)).tanh()


def two(work, folder):
    """Return the arrays by name that ``work(rank)``, a function of a module, returns in each of two processes."""
    mp.spawn(_worker, (work, str(folder)), nprocs=2)
    return [dict(np.load(folder / f"{rank}.npz")) for rank in (0, 1)]


def _worker(rank, work, folder):
    torch.set_num_threads(1)
    meeting, limit = f"file://{folder}/meet", datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", meeting, rank=rank, world_size=2, timeout=limit)
    np.savez(f"{folder}/{rank}.npz", **work(rank))
    dist.destroy_process_group()
