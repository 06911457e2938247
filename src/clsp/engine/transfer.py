"""Tensors on their way to a device, which need not wait for it."""

from __future__ import annotations

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to ``device``, without waiting until a GPU has done what it was told before.

    From ordinary memory a copy waits, and in every step the GPU would then wait for the CPU in its turn.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
