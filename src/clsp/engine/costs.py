"""What a step costs without computing it: its FLOPs and its peak of memory, from a run on fake tensors.

They have shapes and no values: every operation is there, with its true sizes, and a batch of any size takes a second.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clsp.engine.flops import count_flops

Step = Callable[[int], Any]
"""One step on so many images."""


@dataclass(frozen=True)
class Cost:
    """What a step takes, whatever the machine."""

    flops: float
    peak: float
    """Bytes that live at the same time at most: the network, its gradients, what the backward pass needs."""


class _Live(TorchDispatchMode):
    """Watches how many bytes of tensors live at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._see(value.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.bytes -= size


def costs(network: nn.Module, steps: Sequence[Step], batch: int) -> list[Cost]:
    """Find the costs of ``steps`` on ``batch`` images. ``network``, which they use, has no values afterwards."""
    own = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    network.zero_grad(set_to_none=True)
    found = []
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        _empty(network, mode)
        for step in steps:
            with _Live() as live:
                step(batch)
            network.zero_grad(set_to_none=True)
            found.append(Cost(count_flops(partial(step, batch)), own + live.peak))
            network.zero_grad(set_to_none=True)
    return found


def _empty(network: nn.Module, mode: FakeTensorMode) -> None:
    """Replace the tensors of ``network`` by fake ones of the same shape, type and strides."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(mode.from_tensor(parameter.detach()), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = mode.from_tensor(buffer)
