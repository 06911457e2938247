"""Whether a bank is worth its cost: what it takes of a plan, and what one brought with about as many images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from clsp.preflight.stages import Plan, Stage
from clsp.training.checks import needs_bank


@dataclass(frozen=True)
class Gain:
    """What candidates gained with a number of images, in points of linear accuracy and of retrieval (mAP)."""

    images: int
    over_view: tuple[float, float]
    """Over a third view of the same image, after as many epochs."""
    over_cost: tuple[float, float]
    """Over SimCLR that was trained for as many FLOPs as generator, bank and encoder took together."""


GAINS = (
    Gain(300, over_view=(0.5, 5.6), over_cost=(-1.8, 3.8)),
    Gain(1_000, over_view=(2.2, 6.0), over_cost=(0.4, 1.0)),
    Gain(3_000, over_view=(0.4, 5.5), over_cost=(-0.8, 2.5)),
    Gain(10_000, over_view=(1.1, 4.0), over_cost=(0.0, 1.0)),
)
"""Means over the seeds of studies/image-count, gray pictures of clothes; a test compares them."""

COLOUR = (
    "In colour, satellite patches gained over a third view, drawings did not, and photographs lost retrieval "
    "(studies/time); nothing was compared at equal cost. With labels, --controls true tells it of yours."
)


def worth(plan: Plan, stages: Sequence[Stage]) -> str:
    """Say whether the bank is likely to be worth its cost; nothing where a plan has none.

    Args:
        plan: with the images that it is for.
        stages: of the whole plan.
    """
    taken = _fraction(plan, {stage.name: stage for stage in stages})
    if taken is None:
        return ""
    count = plan.trained()
    known = min(GAINS, key=lambda gain: abs(math.log(gain.images / count)))
    told = [
        f"to find alike images a bank was worth its cost on {known.images:,} gray pictures of clothes, the measured "
        f"number that is nearest to your {count:,}; for a linear classifier it was not. Beside SimCLR trained for the "
        f"FLOPs of generator, bank and encoder together candidates had {_points(known.over_cost)}, beside a third view "
        f"after as many epochs {_points(known.over_view)}, all in a quarter of an hour (studies/image-count; of longer "
        f"trainings docs/time.md tells). Here generator and bank take {taken:.0%} of these FLOPs."
    ]
    if plan.images.channels > 1:
        told.append(COLOUR)
    return " ".join(told)


def _fraction(plan: Plan, stages: dict[str, Stage]) -> float | None:
    """Fraction of the FLOPs of the first arm with a bank that generator and bank take; None: no arm needs one."""
    arms = (arm for arm in plan.recipe.arms() if arm.trains and needs_bank(plan.recipe.pretraining(arm)))
    if (arm := next(arms, None)) is None:
        return None
    generator = sum(stages[name].flops for name in ("diffusion model", "synthetic positives") if name in stages)
    return generator / (generator + stages[f"encoder {arm.name}"].flops)


def _points(gain: tuple[float, float]) -> str:
    linear, retrieval = gain
    return f"{retrieval:+.1f} points of retrieval and {linear:+.1f} of linear accuracy"
