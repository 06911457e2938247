"""What a step costs: its FLOPs and its peak of memory without computing it, and its seconds on a bearable batch."""

from __future__ import annotations

import time

from clsp.engine.costs import Cost, Step, costs

__all__ = ["Cost", "Step", "costs", "seconds"]

_LONG_ENOUGH = 0.5
"""Seconds that a step must take for its time to be trusted; shorter ones are repeated."""

_BEARABLE = 2.0
"""Seconds up to which a step of the full batch is waited for."""


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
    if best < _LONG_ENOUGH:
        best = min(best, _timed(step, batch), _timed(step, batch))
    return best, batch


def _timed(step: Step, batch: int) -> float:
    start = time.perf_counter()
    step(batch)
    return time.perf_counter() - start
