"""Counting floating-point operations: what a step costs on any machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def count_flops(run: Callable[[], Any]) -> float:
    """Count the FLOPs of calling ``run`` (2 a multiplication and addition), of its backward pass too if it has one.

    Attention is computed by plain matrix products meanwhile: the counter does not know the CPU's fused kernel.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return float(counter.get_total_flops())
