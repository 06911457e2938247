"""Exponential moving averages of a network's weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class EMA(nn.Module, Generic[Network]):
    """A frozen copy of ``network`` whose parameters follow it: p' <- d p' + (1 - d) p.

    Parameters alone are averaged. Buffers (BatchNorm statistics) are the copy's own where it is run in train mode, as
    in MoCo and BYOL.

    Args:
        network: what is followed; it is no part of this module.
        schedule: d at a fraction of the training, for `follow`.
    """

    def __init__(self, network: Network, schedule: Callable[[float], float] | None = None) -> None:
        super().__init__()
        self.average: Network = copy.deepcopy(network).requires_grad_(False)
        self._schedule, self._followed = schedule, (network,)  # a tuple hides it from torch: it is no part of this

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Move the average towards the network by (1 - ``decay``)."""
        averages = [p.data for p in self.average.parameters()]
        newest = [p.detach() for p in self._followed[0].parameters()]
        torch._foreach_lerp_(averages, newest, 1.0 - decay)

    @property
    def followed(self) -> Network:
        """The network that it follows."""
        return self._followed[0]

    def moves(self, progress: float) -> bool:
        """Whether `follow` moves it by more than rounding at the fraction ``progress`` of the training."""
        return self._schedule is not None and self._schedule(progress) < 1.0 - 1e-4

    def follow(self, progress: float) -> None:
        """Move the average as the schedule says at the fraction ``progress`` of the training."""
        if self._schedule is not None:
            self.update(self._schedule(progress))

    def forward(self, *inputs: Any) -> Any:
        """Run the average, without gradient."""
        with torch.no_grad():
            return self.average(*inputs)
