"""The comparison: arms and seeds on the same images, with the same encoder and probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsp.errors import UserError
from clsp.recipes.arms import Arm, parse_arm, parse_arms
from clsp.recipes.prepare import prepare
from clsp.recipes.recipe import Recipe
from clsp.settings.values import Tree
from clsp.study.engine import conduct
from clsp.study.record import command_line


def compare(
    data: str,
    out: str | Path,
    *,
    methods: str,
    baseline: str | None = None,
    seeds: int = 5,
    positives: str | Path | None = None,
    recipe: str | None = None,
    overrides: Tree | None = None,
) -> dict[str, Any]:
    """Train and evaluate every arm with every seed; a second call finishes what is missing, and may add arms and seeds.

    Args:
        data: a SOURCE with labels.
        out: the comparison's folder.
        methods: the arms, separated by commas: ``simclr,simclr+bank``.
        baseline: the arm that the others are compared with; None: the first.
        seeds: how many; they begin with the recipe's seed.
        positives: a bank that exists; None: one is made if an arm needs it.
        recipe: see `clsp.recipes.prepare.prepare`.
        overrides: see `clsp.recipes.prepare.prepare`.

    Returns:
        What ``comparison.json`` holds; nothing in all processes but the first.

    Raises:
        UserError: the input is wrong.
    """
    arms = parse_arms(methods)
    base = parse_arm(baseline) if baseline is not None else arms[0]
    if seeds < 1:
        raise UserError(f"--seeds '{seeds}' must be a whole number of at least 1")
    prepared = prepare(data, recipe=recipe, overrides=overrides, store=Path(out) / "images")
    own = {"data": data, "out": str(out), "methods": methods, "baseline": baseline, "positives": positives}
    command = command_line("compare", {**own, "seeds": seeds, "recipe": recipe}, overrides)
    if prepared.images.train.labels is None:
        raise UserError(f"clsp compare evaluates encoders by their labels, and {prepared.images.source} has none")
    if base not in arms:
        raise UserError(f"--baseline {base.name} is none of the arms {', '.join(arm.name for arm in arms)}")
    _require_controls(prepared.recipe, arms, overrides)
    numbers = [prepared.recipe.seed + run for run in range(seeds)]
    bank = None if positives is None else Path(positives)
    return conduct(prepared, Path(out), data, arms, numbers, command=command, baseline=base, bank=bank, shared=True)


def _require_controls(recipe: Recipe, arms: list[Arm], overrides: Tree | None) -> None:
    """Refuse controls that were asked for and are none of the arms: a comparison trains what ``--methods`` says.

    Raises:
        UserError: says how the arms are written with them.
    """
    trained = [arm.method for arm in arms if arm.trains]
    wanted = dict.fromkeys([*arms, *(control for method in trained for control in recipe.controls_of(method))])
    if "controls" in (overrides or {}) and recipe.controls and len(wanted) > len(arms):
        raise UserError(
            "--controls true adds no arm to clsp compare, which trains what --methods says; leave it out, and write "
            f"--methods {','.join(arm.name for arm in wanted)}"
        )
