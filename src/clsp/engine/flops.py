"""Counting floating-point operations: what a step costs on any machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def count_flops(run: Callable[[], Any]) -> float:
    """Count the FLOPs of calling ``run`` (2 a multiplication and addition), of its backward pass too if it has one."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())
