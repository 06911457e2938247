"""Exponential moving averages of a network's weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class EMA(nn.Module, Generic[Network]):
    """A frozen copy of ``network`` whose parameters follow it: p' <- d p' + (1 - d) p.

    Parameters alone are averaged. Buffers (BatchNorm statistics) are the copy's own where it is run in train mode, as
    in MoCo and BYOL.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.average: Network = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float) -> None:
        """Move the average towards ``network`` by (1 - ``decay``)."""
        averages = [p.data for p in self.average.parameters()]
        newest = [p.detach() for p in network.parameters()]
        torch._foreach_lerp_(averages, newest, 1.0 - decay)
