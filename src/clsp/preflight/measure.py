"""What a step costs: its FLOPs and its peak of memory without computing it, and its seconds on a bearable batch.

Seconds are those of a step that has its threads' cores to itself, also where other work takes some of their time. Of
one thread the time of the processor says it, the median of some repetitions. Of several it does not: they wait for each
other, and some by computing. There it is the least time, on the cores that other work leaves free
(`clsp.engine.threads`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from clsp.engine.costs import Cost, Step, costs

__all__ = ["Cost", "Step", "backward", "costs", "seconds", "wait"]

_LONG_ENOUGH = 0.5
"""Seconds that a step must take for its time to be trusted; shorter ones are repeated."""

_BEARABLE = 2.0
"""Seconds up to which a step of the full batch is waited for."""

_REPEATED = 5
"""Times that a step is taken at most."""

_ENOUGH = 2.0
"""Seconds after which it is taken no more."""

_SMALLEST = 1e-6
"""Seconds: the processor's clock may stand still for a moment."""


def seconds(step: Step, full: int, *, least: int) -> tuple[float, int]:
    """Time ``step`` on this machine, on the ``full`` batch if a step of it is quick, else on a part of it.

    Returns:
        Seconds of a step, and the images it had.
    """
    batch = min(least, full)
    _timed(step, batch)  # libraries choose their kernels in the first
    best = _timed(step, batch)
    while batch < full and (best < _LONG_ENOUGH or best * full / batch < _BEARABLE):
        long = best * full / batch >= _BEARABLE
        batch = min(full, max(2 * batch, int(batch * _LONG_ENOUGH / best))) if long else full
        _timed(step, batch)
        best = _timed(step, batch)
    times, begin = [best], time.perf_counter()
    while len(times) < _REPEATED and time.perf_counter() - begin < _ENOUGH:
        times.append(_timed(step, batch))
    return min(times) if _clock() is time.perf_counter else statistics.median(times), batch


def _timed(step: Step, batch: int) -> float:
    clock = _clock()
    start = clock()
    step(batch)
    return max(clock() - start, _SMALLEST)


def _clock() -> Callable[[], float]:
    """The processor's for one thread, the wall's for several and beside an accelerator, which has no such clock."""
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    return time.perf_counter if accelerated or torch.get_num_threads() > 1 else time.process_time


def backward(loss: Tensor) -> None:
    """The backward pass, to its end on the device."""
    loss.backward()
    wait(loss.device)


def wait(device: torch.device) -> None:
    """Wait until the GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
