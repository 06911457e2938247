"""``clsp check``: what would run, what is wrong, and how much time, memory and disk it takes, before any of it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clsp.recipes.prepare import Prepared


def preflight(prepared: Prepared, *, gpu: str | None = None, there: bool = True) -> str:
    """Build every network, time a few steps of each stage, and lay out the plan as plain text.

    Args:
        prepared: the recipe and its images, from `clsp.recipes.prepare` or `clsp.preflight.source.prepare_plan`.
        gpu: a GPU of `clsp.preflight.gpus` for which memory and hours are wanted.
        there: whether the images are there; else they have a shape and no content.

    Raises:
        UserError: a setting does not fit the data; what a run would say hours later is said now.
    """
    from clsp.engine import threads
    from clsp.engine.hardware import device_of
    from clsp.engine.heap import keep_heap
    from clsp.preflight.gpus import find_gpu
    from clsp.preflight.page import lay_out
    from clsp.preflight.stages import Plan, plan_stages
    from clsp.recipes.fit import check_arm, check_generator, needs_generator

    keep_heap()  # as the stages do, whose time is measured
    card = None if gpu is None else find_gpu(gpu)
    if needs_generator(prepared.recipe, prepared.recipe.arms()):
        check_generator(prepared.recipe, prepared.images)
    for arm in prepared.recipe.arms():
        check_arm(prepared.recipe, arm, prepared.images)
    plan, hardware = Plan(prepared.recipe, prepared.images, card), prepared.recipe.hardware
    sharing = hardware.devices if device_of(hardware).type == "cpu" else 1
    found = threads.bind(processes=sharing)  # as the stages will have them
    return lay_out(prepared, plan, plan_stages(plan), gpu=gpu, there=there, found=found)
