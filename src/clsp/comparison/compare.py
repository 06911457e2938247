"""The work on a grid: every arm with every seed is trained and rated alike; what is finished is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clsp import console, distributed, files, workflow
from clsp.comparison.arms import DIFFUSION, Arm
from clsp.comparison.collect import collect, rating_settings
from clsp.comparison.grid import Grid
from clsp.engine.hardware import device_of
from clsp.engine.stage import stage
from clsp.errors import InUseError, UserError
from clsp.evaluation.config import EvaluateConfig
from clsp.positives.bank import PositiveBank
from clsp.positives.pairs import pairs_for
from clsp.positives.registry import NEEDS_BANK
from clsp.recipes.limits import check_backbone, check_fit, check_values
from clsp.training.config import check_positives
from clsp.workflow import Prepared

if TYPE_CHECKING:
    from clsp.evaluation.evaluate import Result
    from clsp.evaluation.task import Task

Made = TypeVar("Made")

_POLL = 5.0
"""Seconds between two looks at what another process works on."""


def compare(
    prepared: Prepared, out: Path, arms: list[Arm], *, seeds: int, baseline: Arm | None = None, bank: Path | None = None
) -> dict[str, Any]:
    """Train and rate every arm with every seed, and write ``comparison.json``.

    The diffusion model and its bank are made once, by the recipe's seed; seeds 0 .. n - 1 name weights, order and views
    of the pretrainings. A second call finishes what is missing; more seeds or arms may be added to a finished grid.
    Calls that run at the same time share the work: each takes the next run that no other works on.

    Args:
        prepared: data and recipe.
        out: the comparison's folder.
        arms: the rows of the table.
        seeds: runs an arm.
        baseline: what the others are compared with; default the first arm.
        bank: a bank that exists; default: it is made.

    Returns:
        What comparison.json holds; nothing in all processes but the first, which writes it.

    Raises:
        UserError: the data have no labels, or the folder belongs to another comparison.
    """
    if prepared.images.train.labels is None:
        raise UserError(f"clsp compare rates encoders by their labels, and {prepared.images.source} has none")
    if baseline is not None and baseline not in arms:
        raise UserError(f"--baseline {baseline.name} is none of the arms {', '.join(arm.name for arm in arms)}")
    _check_fit(prepared, arms, bank)
    needed = any(arm.positives in NEEDS_BANK or arm.method == DIFFUSION for arm in arms)
    chosen = _when_free(lambda: _bank(prepared, out, bank)) if needed else None
    grid = Grid(prepared, out, arms, list(range(seeds)), baseline or arms[0], chosen)
    _work(grid)
    if distributed.rank() != 0:
        return {}
    result = collect(grid)
    files.write_json(out / "comparison.json", result)
    return result


def _check_fit(prepared: Prepared, arms: list[Arm], bank: Path | None) -> None:
    """Refuse what would fail only after the bank is made: every method brings its own batch and number of images."""
    recipe = prepared.recipe
    if bank is not None:
        recipe = replace(recipe, synthesize=replace(recipe.synthesize, anchors=len(PositiveBank.open(bank))))
    for arm in arms:
        if arm.method != DIFFUSION:
            own = replace(recipe, pretrain=arm.pretraining(recipe))
            check_values(own)
            check_positives(arm.positives, own.pretrain)
            pairs_for(arm.positives, own.pretrain.positive_pairs, prepared.images.train.names)
            check_fit(own, prepared.images, own_model=bank is None)
            check_backbone(own, prepared.images)


def _bank(prepared: Prepared, out: Path, given: Path | None) -> PositiveBank:
    if given is not None:
        return PositiveBank.open(given)
    workflow.diffusion_stage(prepared, out / "diffusion")
    return workflow.bank_stage(prepared, out / "diffusion", out / "positives")


def _work(grid: Grid) -> None:
    """Do all cells, seed by seed, so that an interrupted grid has all arms equally often; those in use come last."""
    in_use = []
    for seed in grid.seeds:
        for arm in grid.arms:
            try:
                _cell(grid, arm, seed)
            except InUseError:
                if distributed.world_size() > 1:  # the other processes have begun the cell that this one would leave
                    raise
                in_use.append((arm, seed))
    for arm, seed in in_use:
        _when_free(partial(_cell, grid, arm, seed))


def _when_free(work: Callable[[], Made]) -> Made:
    """Do ``work`` as soon as no other process does the same: then what that one finished is found."""
    while True:
        try:
            return work()
        except InUseError as error:
            console.say(str(error).partition(";")[0])
            time.sleep(_POLL)


def _cell(grid: Grid, arm: Arm, seed: int) -> None:
    """Train and rate one arm with one seed."""
    from clsp.evaluation.bottleneck import evaluate_bottleneck
    from clsp.evaluation.evaluate import evaluate_encoder
    from clsp.training.pretrain import pretrain

    recipe, images, folder = grid.prepared.recipe, grid.prepared.images, grid.folder(arm, seed)
    device = device_of(recipe.hardware)
    console.say(f"arm {arm.name}, seed {seed}")
    if arm.method == DIFFUSION:
        assert grid.bank is not None
        model, unet = grid.diffusion(), grid.bank.manifest["unet"]
        rate = partial(evaluate_bottleneck, model, config=recipe.evaluate, seed=seed, device=device)
        _rate(grid, folder, unet, rate)
        return
    config = arm.pretraining(recipe)
    pretrain(
        images,
        config,
        recipe.hardware,
        seed=seed,
        folder=folder,
        positives=arm.positives,
        bank=grid.bank,
        anchors=grid.anchors(),
    )
    weights, rating = folder / "encoder.safetensors", folder / "rating" / "stage.json"
    if not weights.exists() and rating.exists():  # of what was rated the weights may be deleted: many arms fill a disk
        encoder = files.read_json(rating)["inputs"]["encoder"]
    else:
        encoder = files.file_hash(weights)[:16]
    _rate(grid, folder, encoder, lambda task: evaluate_encoder(folder, task, recipe.evaluate, device=device))


def _rate(grid: Grid, folder: Path, rated: str, rate: Callable[[Task], Result]) -> None:
    """Keep what ``rate`` says of the encoder with the hash ``rated``; the first process asks it, the others wait."""
    from clsp.evaluation.task import make_task

    recipe = grid.prepared.recipe
    settings, inputs = rating_settings(recipe.evaluate), {"encoder": rated}
    defaults = rating_settings(EvaluateConfig())
    with stage("rating", folder / "rating", settings=settings, inputs=inputs, defaults=defaults) as current:
        if not current.finished and distributed.rank() == 0:
            current.facts = rate(make_task(grid.prepared.images, recipe.evaluate, seed=recipe.seed)).record()
