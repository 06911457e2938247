"""The whole run: a study of one seed, of the method with its positives and, where they are wanted, its controls."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from clsp import console
from clsp.errors import UserError
from clsp.images.imageset import Images
from clsp.images.sources import open_images
from clsp.images.unread import UNREAD
from clsp.preflight.budget import RECIPE, fit_to_time, seconds_for
from clsp.preflight.fitting import lengths_given
from clsp.recipes.names import recipe_for
from clsp.recipes.prepare import Prepared, prepare
from clsp.recipes.recipe import Recipe, load_recipe
from clsp.settings.values import Tree
from clsp.study.clock import Clock, read_budget
from clsp.study.engine import conduct
from clsp.study.record import command_line


def run(
    data: str,
    out: str | Path,
    *,
    recipe: str | None = None,
    overrides: Tree | None = None,
    diffusion: str | None = None,
    hours: str | float | None = None,
) -> dict[str, Any]:
    """Do everything: a folder of images in, an encoder and the evidence for it out.

    Args:
        data: a SOURCE.
        out: the run's folder. A second call finishes what is missing there.
        recipe: see `clsp.recipes.prepare.prepare`.
        overrides: see `clsp.recipes.prepare.prepare`.
        diffusion: a diffusers folder or hub id that serves instead of training a diffusion model.
        hours: the time that the run may take, as a number of hours or as ``clsp run --hours`` takes it; None: what is
            usual for the recipe ``folder``, and no limit for the others.

    Returns:
        What ``comparison.json`` holds; nothing in all processes but the first.

    Raises:
        UserError: the input is wrong; what was there before is untouched.
    """
    own = {"data": data, "out": str(out), "recipe": recipe, "diffusion": diffusion, "hours": hours}
    seconds, clock = seconds_for(recipe or recipe_for(data), hours), None
    if seconds is None:
        prepared = prepare(data, recipe=recipe, overrides=overrides, store=Path(out) / "images")
    else:
        prepared, clock = _within(data, Path(out), seconds, overrides, diffusion=diffusion, stated=hours is not None)
    arms = prepared.recipe.arms()
    alone = next((arm for arm in arms if arm.source is None), None)
    where = (prepared, Path(out), data, arms, [prepared.recipe.seed])
    how = {"command": command_line("run", own, overrides), "main": arms[0], "baseline": alone, "diffusion": diffusion}
    return conduct(*where, **how, clock=clock)  # type: ignore[arg-type]


def _within(
    data: str, out: Path, seconds: float, overrides: Tree | None, *, diffusion: str | None, stated: bool
) -> tuple[Prepared, Clock]:
    """Fit the run to its time; one that was begun keeps its plan.

    Args:
        data: a SOURCE.
        out: the run's folder.
        seconds: what it may take.
        overrides: settings that were given.
        diffusion: a diffusers folder or hub id that serves instead of training a diffusion model.
        stated: whether the user said the time.
    """
    began, first, kept = time.monotonic(), load_recipe(RECIPE, overrides), read_budget(out)
    if kept is None:
        seen = open_images(data, first.images, seed=first.seed, store=UNREAD)
        kept = fit_to_time(seen, seconds, overrides, diffusion=diffusion), 0.0
    budget, before = kept
    if stated and budget.seconds != seconds:
        raise UserError(
            f"{out} was begun with a time of {console.duration(budget.seconds)}; leave --hours out, or choose another "
            "--out"
        )

    def opened(chosen: Recipe) -> Images:
        return open_images(data, chosen.images, seed=chosen.seed, own=out / "images")

    for line in budget.said:
        console.say(line)
    prepared = budget.prepare(overrides, opened)
    held = frozenset(lengths_given(prepared.given, prepared.recipe))
    return prepared, Clock(budget, out, before, began, held)
