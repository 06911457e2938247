"""The whole run: a study of one seed, of the method with its positives and, where they are wanted, its controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsp.recipes.prepare import prepare
from clsp.settings.values import Tree
from clsp.study.engine import conduct
from clsp.study.record import command_line


def run(
    data: str,
    out: str | Path,
    *,
    recipe: str | None = None,
    overrides: Tree | None = None,
    diffusion: str | None = None,
) -> dict[str, Any]:
    """Do everything: a folder of images in, an encoder and the evidence for it out.

    Args:
        data: a SOURCE.
        out: the run's folder. A second call finishes what is missing there.
        recipe: see `clsp.recipes.prepare.prepare`.
        overrides: see `clsp.recipes.prepare.prepare`.
        diffusion: a diffusers folder or hub id that serves instead of training a diffusion model.

    Returns:
        What ``comparison.json`` holds; nothing in all processes but the first.

    Raises:
        UserError: the input is wrong; what was there before is untouched.
    """
    prepared = prepare(data, recipe=recipe, overrides=overrides, store=Path(out) / "images")
    arms = prepared.recipe.arms()
    alone = next((arm for arm in arms if arm.source is None), None)
    own = {"data": data, "out": str(out), "recipe": recipe, "diffusion": diffusion}
    command = command_line("run", own, overrides)
    seeds = [prepared.recipe.seed]
    where = (prepared, Path(out), data, arms, seeds)
    return conduct(*where, command=command, main=arms[0], baseline=alone, diffusion=diffusion)
