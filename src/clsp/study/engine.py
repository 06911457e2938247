"""The work on a study: every arm with every seed is trained and evaluated alike; what is finished is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from clsp import console, distributed, files
from clsp.engine.finite import NonFiniteLossError
from clsp.engine.launch import launch
from clsp.errors import InUseError, UserError
from clsp.positives.bank import PositiveBank
from clsp.preflight.room import memory_note
from clsp.recipes.arms import DIFFUSION, Arm
from clsp.recipes.fit import check_arm, check_generator, needs_generator
from clsp.recipes.prepare import Prepared
from clsp.report.page import build_report
from clsp.study.clock import Clock
from clsp.study.collect import collect, metrics_of
from clsp.study.evaluation import evaluate_cell, show
from clsp.study.findings import explore
from clsp.study.gate import Rows, pass_gate
from clsp.study.record import describe, require_same_data, write_record
from clsp.study.seal import seal, unseal
from clsp.study.stages import bank_stage, diffusion_stage
from clsp.study.study import Study
from clsp.study.table import document
from clsp.training.checks import needs_bank
from clsp.training.pretrain import pretrain

Made = TypeVar("Made")

_POLL = 5.0
"""Seconds between two looks at what another process works on."""

_TAKEN = ("*.safetensors", "config.json", "snippet.py")
"""What a user takes away."""


def conduct(
    prepared: Prepared,
    out: Path,
    source: str,
    arms: list[Arm],
    seeds: list[int],
    *,
    command: str,
    main: Arm | None = None,
    baseline: Arm | None = None,
    bank: Path | None = None,
    diffusion: str | None = None,
    shared: bool = False,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Train and evaluate every arm with every seed, and write the table, the page and the encoder to take away.

    The diffusion model and its bank are made once, by the recipe's seed; the seeds name weights, order and views of the
    pretrainings. A second call finishes what is missing; more seeds or arms may be added to a finished study.

    Args:
        prepared: data and recipe.
        out: the study's folder.
        source: the data as the user named them.
        arms: the rows of the table.
        seeds: of the pretrainings.
        command: the command that does the same.
        main: the arm that the study is about: the others are subtracted from it. Default: the study is about all, which
            are compared with the baseline; the first other one with an encoder is what a user takes away.
        baseline: what the others are compared with; default the first arm.
        bank: a bank that exists; default: it is made.
        diffusion: a diffusers folder or hub id that serves instead of training a diffusion model.
        shared: whether calls that run at the same time share the work, each taking the next run that no other works on;
            else a second one is refused.
        clock: what time the stages have; None: as long as they take.

    Returns:
        What comparison.json holds; nothing in all processes but the first, which writes it.

    Raises:
        UserError: the input is wrong, or the folder belongs to another study.
    """
    prepared.require_read(arms)
    needed = needs_generator(prepared.recipe, arms)
    _require_wanted(arms, needed, bank, diffusion)
    launch(prepared.recipe.hardware)
    describe(prepared.images, out / "images.json")
    own = out / "diffusion" if needed and bank is None and diffusion is None else None
    _require_fit(prepared, arms, bank, own)
    require_same_data(out, prepared.images)
    if (out / "encoder" / "stage.json").exists():
        raise UserError(f"{out} was made by an older version, with another layout of folders; choose another --out")
    if not (out / "recipe.yaml").exists():
        if distributed.rank() == 0 and (note := memory_note(prepared, own_model=own is not None)):
            console.say(note)
        write_record(out, prepared, source, command)
    at_work: Callable[[Callable[[], Any]], Any] = _when_free if shared else lambda work: work()
    chosen = at_work(lambda: _bank(prepared, out, bank, diffusion, clock)) if needed else None
    rows = Rows(arms, main, baseline or arms[0])
    if chosen is not None and any(arm.trains and needs_bank(prepared.recipe.pretraining(arm)) for arm in arms):
        rows = pass_gate(prepared, chosen, rows, command, model=own)
    study = _study(prepared, out, rows, seeds, chosen, clock)
    _work(study, shared=shared)
    result: dict[str, Any] = {}
    if distributed.rank() == 0:
        unseal(out)
        write_record(out, prepared, source, command)  # only now may it replace an earlier call's: every stage agreed
        result = at_work(lambda: _finish(study))
        if clock is not None:
            clock.save()
        seal(out, command)
    distributed.barrier()
    return result


def _study(
    prepared: Prepared, out: Path, rows: Rows, seeds: list[int], bank: PositiveBank | None, clock: Clock | None
) -> Study:
    """The study of what is to be trained."""
    arms, main, base = rows.arms, rows.main, rows.baseline
    pairs = [(main or arm, arm if main else base) for arm in arms if arm != (main or base)]
    shown = main or next((arm for arm in arms if arm not in (base, Arm(DIFFUSION))), arms[0])
    return Study(prepared, out, arms, seeds, shown, base, pairs, bank, rows.gate, clock)


def _require_wanted(arms: list[Arm], needed: bool, bank: Path | None, diffusion: str | None) -> None:
    """Refuse a bank or a diffusion model that no arm needs: who gives it expects it to change something.

    Raises:
        UserError: names the arms, and what would use it.
    """
    given = f"--positives {bank}" if bank is not None else f"--diffusion {diffusion}" if diffusion is not None else ""
    if given and not needed:
        names = ", ".join(arm.name for arm in arms)
        other = "add an arm" if bank is not None else "choose --pretrain.positive.source bank, which makes an arm"
        raise UserError(
            f"{given} changes nothing: no arm needs a bank ({names}); leave it out, or {other} such as "
            f"{arms[0].method}+bank"
        )


def _require_fit(prepared: Prepared, arms: list[Arm], bank: Path | None, model: Path | None) -> None:
    """Refuse what would fail only after the bank is made: every method brings its own batch and number of images."""
    if model is not None:
        check_generator(prepared.recipe, prepared.images, kept=model)
    anchors = None if bank is None else len(PositiveBank.open(bank))
    for arm in arms:
        check_arm(prepared.recipe, arm, prepared.images, anchors=anchors)


def _bank(
    prepared: Prepared, out: Path, given: Path | None, diffusion: str | None, clock: Clock | None
) -> PositiveBank:
    if given is not None:
        return PositiveBank.open(given)
    own = out / "diffusion"
    model = diffusion or diffusion_stage(prepared, own, None if clock is None else clock.pace("diffusion", own))
    return bank_stage(prepared, model, out / "positives")


def _work(study: Study, *, shared: bool) -> None:
    """Do all cells, seed by seed, so that an interrupted study has all arms equally often; those in use come last.

    Raises:
        NonFiniteLossError: a training diverged; it is raised when all others are done.
    """
    in_use, lost = [], list[tuple[Arm, int, NonFiniteLossError]]()
    for seed in study.seeds:
        for arm in study.arms:
            try:
                _cell(study, arm, seed)
            except InUseError:
                # Of several processes the others have begun the cell that this one would leave.
                if not shared or distributed.world_size() > 1:
                    raise
                in_use.append((arm, seed))
            except NonFiniteLossError as error:
                # Of several processes the others may wait for this one in the same step.
                if len(study.arms) * len(study.seeds) == 1 or distributed.world_size() > 1:
                    raise
                console.say(f"{arm.name}, seed {seed}: {error}; the others go on")
                lost.append((arm, seed, error))
    for arm, seed in in_use:
        _when_free(partial(_cell, study, arm, seed))
    if lost:
        names = ", ".join(f"{arm.name} (seed {seed})" for arm, seed, _ in lost)
        raise NonFiniteLossError(
            f"{names} diverged: {lost[0][2]}. All other trainings are done and kept: leave those arms out "
            "to get the table of the others"
        )


def _when_free(work: Callable[[], Made]) -> Made:
    """Do ``work`` as soon as no other process does the same: then what that one finished is found."""
    while True:
        try:
            return work()
        except InUseError as error:
            console.say(str(error).partition(";")[0])
            time.sleep(_POLL)


def _cell(study: Study, arm: Arm, seed: int) -> None:
    """Train and evaluate one arm with one seed."""
    recipe, folder = study.prepared.recipe, study.folder(arm, seed)
    console.say(f"arm {arm.name}, seed {seed}")
    if arm.trains:
        config, images = recipe.pretraining(arm), study.prepared.images
        bank, anchors = study.bank if needs_bank(config) else None, study.anchors()
        about: dict[str, Any] = {"seed": seed, "bank": bank, "anchors": anchors, "pace": study.pace(arm, seed)}
        pretrain(images, config, recipe.hardware, folder=folder, unseen=study.unseen, **about)
        if (arm, seed) == (study.main, study.seeds[0]) and distributed.rank() == 0:
            _take_away(folder, study.out / "encoder")
    evaluate_cell(study, arm, seed)


def _finish(study: Study) -> dict[str, Any]:
    """Collect what all cells found, and write what a user looks at."""
    out, result = study.out, collect(study)
    metrics = metrics_of(study, show(study))
    explore(study)
    for name, content in (("evaluation/metrics.json", metrics), ("comparison.json", result)):
        _write(out / name, json.dumps(content, indent=2, allow_nan=False) + "\n")
    _write(out / "comparison.md", document(result))
    files.sweep(out)  # of killed calls
    console.say(f"report: {build_report(out)}")
    return result


def _take_away(cell: Path, target: Path) -> None:
    """Copy the encoder of a cell."""
    for path in (path for pattern in _TAKEN for path in sorted(cell.glob(pattern))):
        if not (target / path.name).exists() or files.file_hash(target / path.name) != files.file_hash(path):
            unseal(target.parent)
            files.write_bytes(target / path.name, files.read_bytes(path))


def _write(path: Path, text: str) -> None:
    """Write a text where it is not there already."""
    if not path.exists() or path.read_bytes() != text.encode():
        files.write_text(path, text)
