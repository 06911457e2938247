"""Learning-rate schedules, by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial


def warmup_factor(step: float, *, total: int, warmup: int, shape: str, start: float = 0.0) -> float:
    """Return the factor on the learning rate at ``step``: a linear warm-up, then ``constant`` or ``cosine`` to 0.

    Args:
        step: from 0 to total - 1; between two steps, where a training takes more steps than it was planned for.
        total: steps of the whole run.
        warmup: steps of the warm-up, of which half of ``total`` count at most: a training that is shorter than what its
            recipe planned reaches its rate, too. The factor is 1 at that step.
        shape: ``constant`` or ``cosine``.
        start: factor from which it rises; step 0 has the first of ``warmup`` + 1 equal parts of the way on.
    """
    warmup = min(warmup, total // 2)
    if step < warmup:
        return start + (1.0 - start) * (step + 1) / (warmup + 1)
    if shape == "constant":
        return 1.0
    progress = (step - warmup) / max(total - warmup, 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def cosine_between(first: float, last: float, progress: float) -> float:
    """Go from ``first`` (progress 0) to ``last`` (progress 1) along half a cosine: the schedule of EMA decays."""
    return last - (last - first) * (math.cos(math.pi * progress) + 1.0) / 2.0


def cosine(ends: Sequence[float]) -> Callable[[float], float]:
    """Return the schedule from the first to the last of two values, see `cosine_between`."""
    first, last = ends
    return partial(cosine_between, first, last)
