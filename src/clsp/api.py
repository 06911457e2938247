"""The stages as plain functions: ``clsp.run(data=..., out=...)`` and its parts, each on a SOURCE and folders.

Settings are given by their names, nested or dotted: ``clsp.pretrain("photos", "enc", settings={"pretrain.lr": 0.1})``,
or as the stage's own dataclass: ``clsp.pretrain("photos", "enc", config=PretrainConfig(lr=0.1))``. A dataclass says all
values of its section; what ``settings`` say goes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clsp.encoders.export import encoder_folder
from clsp.recipes.prepare import Prepared, prepare
from clsp.recipes.recipe import Recipe, load_recipe
from clsp.settings.values import Tree, merge, nested, plain
from clsp.study import stages
from clsp.study.compare import compare as compare_study
from clsp.study.onward import find_training, tell_schedule
from clsp.study.opened import prepare_as
from clsp.study.record import command_line, describe, write_record
from clsp.study.result import StudyResult
from clsp.study.run import run as run_study
from clsp.study.seal import seal, unseal

if TYPE_CHECKING:
    from clsp.diffusion.config import DiffusionConfig
    from clsp.evaluation.config import EvaluateConfig
    from clsp.evaluation.evaluate import Result
    from clsp.explorer import Written
    from clsp.positives.bank import PositiveBank
    from clsp.positives.config import SynthesizeConfig
    from clsp.training.config import PretrainConfig

Settings = Mapping[str, Any]
Place = str | Path
Made = TypeVar("Made")


def _overrides(settings: Settings | None, section: str = "", config: Any = None) -> Tree:
    """Bring settings and a section's dataclass into one form: nested, as the command line's are."""
    own = [] if config is None else [{section: plain(config)} if section else plain(config)]
    return merge(Recipe, *own, *(nested({name: value}) for name, value in (settings or {}).items()))


def _made(name: str, own: Mapping[str, Any], overrides: Tree, make: Callable[[Prepared], Made]) -> Made:
    """Do a stage, and write beside what it made the recipe and the command that does the same."""
    prepared = prepare(str(own["data"]), recipe=own["recipe"], overrides=overrides)
    return _recorded(prepared, own, command_line(name, own, overrides), make)


def _recorded(prepared: Prepared, own: Mapping[str, Any], command: str, make: Callable[[Prepared], Made]) -> Made:
    data, out = str(own["data"]), Path(own["out"])
    describe(prepared.images, out / "images.json")
    made = make(prepared)
    unseal(out)
    write_record(out, prepared, data, command)
    seal(out, command)
    return made


def run(
    data: Place,
    out: Place,
    *,
    recipe: str | None = None,
    settings: Settings | None = None,
    config: Recipe | None = None,
    diffusion: str | None = None,
    hours: float | None = None,
) -> StudyResult:
    """Do all stages; a second call finishes what is missing. See `clsp.study.run.run`.

    Returns:
        What ``OUT/evaluation/metrics.json`` holds, as a mapping: ``result["linear"]["top1"]``. It shows itself as a
        table, and ``result.frame()`` is that table as a frame of pandas.
    """
    given = _overrides(settings, config=config)
    run_study(str(data), out, recipe=recipe, overrides=given, diffusion=diffusion, hours=hours)
    return StudyResult.read(out, "evaluation/metrics.json")


def compare(
    data: Place,
    out: Place,
    *,
    methods: str | Sequence[str],
    baseline: str | None = None,
    seeds: int = 5,
    positives: Place | None = None,
    recipe: str | None = None,
    settings: Settings | None = None,
    config: Recipe | None = None,
) -> StudyResult:
    """Train and evaluate several arms with several seeds. See `clsp.study.compare.compare`.

    Args:
        data: a SOURCE with labels.
        out: the comparison's folder; a second call finishes what is missing, and may add arms and seeds.
        methods: the arms: ``["simclr", "simclr+bank"]``, or one text with commas.
        baseline: the arm that the others are compared with; None: the first.
        seeds: how many, at least 1.
        positives: a bank that exists; None: one is made if an arm needs it.
        recipe: see `clsp.recipes.prepare.prepare`.
        settings: by their names, such as ``{"pretrain.epochs": 10}``.
        config: all values of the recipe.

    Returns:
        What ``OUT/comparison.json`` holds, as a mapping that shows itself as a table; see `clsp.run`.
    """
    arms = methods if isinstance(methods, str) else ",".join(methods)
    given = _overrides(settings, config=config)
    how = {"baseline": baseline, "seeds": seeds, "positives": positives, "recipe": recipe}
    compare_study(str(data), out, methods=arms, overrides=given, **how)  # type: ignore[arg-type]
    return StudyResult.read(out)


def train_diffusion(
    data: Place,
    out: Place,
    *,
    recipe: str | None = None,
    settings: Settings | None = None,
    config: DiffusionConfig | None = None,
) -> Path:
    """Train the diffusion model; return the diffusers pipeline's folder."""
    own = {"data": data, "out": out, "recipe": recipe}
    overrides = _overrides(settings, "diffusion", config)
    return _made("diffusion", own, overrides, lambda prepared: stages.diffusion_stage(prepared, Path(out)))


def synthesize(
    data: Place,
    diffusion: Place,
    out: Place,
    *,
    recipe: str | None = None,
    settings: Settings | None = None,
    config: SynthesizeConfig | None = None,
) -> PositiveBank:
    """Draw the bank of synthetic positives with the model in ``diffusion`` (a diffusers folder or hub id)."""
    own = {"data": data, "diffusion": diffusion, "out": out, "recipe": recipe}
    overrides = _overrides(settings, "synthesize", config)
    return _made("synthesize", own, overrides, lambda prepared: stages.bank_stage(prepared, diffusion, Path(out)))


def pretrain(
    data: Place,
    out: Place,
    *,
    positives: Place | None = None,
    recipe: str | None = None,
    settings: Settings | None = None,
    config: PretrainConfig | None = None,
) -> Path:
    """Train an encoder; return its folder.

    Args:
        data: a SOURCE.
        out: the encoder's folder.
        positives: None, a bank's folder, or the name of another source, see `clsp.study.stages.encoder_stage`.
        recipe: see `clsp.recipes.prepare.prepare`.
        settings: by their names, such as ``{"pretrain.method": "moco"}``.
        config: the section ``pretrain``.
    """
    own = {"data": data, "out": out, "recipe": recipe, "positives": positives}
    overrides = _overrides(settings, "pretrain", config)
    return _made("pretrain", own, overrides, lambda prepared: stages.encoder_stage(prepared, Path(out), positives))


def continue_training(
    run: Place,
    out: Place,
    *,
    data: Place | None = None,
    positives: Place | None = None,
    settings: Settings | None = None,
) -> Path:
    """Train on from all that a training had learnt, with a schedule of its own; return the new encoder's folder.

    Args:
        run: the folder of a training or of a run; its recipe, data and positives are taken over.
        out: the new encoder's folder.
        data: a SOURCE, where it is not the old one or lies elsewhere now.
        positives: likewise.
        settings: what is to differ, such as ``{"pretrain.epochs": 100}``.
    """
    found = find_training(run, positives)
    source, positives = str(data or found.data), found.positives
    overrides = merge(Recipe, found.settings, _overrides(settings))
    load_recipe(str(found.recipe), overrides)  # a task's folder has none that a training could go on by
    prepared = prepare_as(found.recipe, None if data is None else str(data), settings=overrides)
    tell_schedule(found, prepared.recipe.pretrain)
    own = {"out": out, "data": source, "positives": positives}
    command = command_line("continue", own, _overrides(settings), [str(run)])
    return _recorded(prepared, own, command, lambda made: stages.encoder_stage(made, Path(out), positives))


def evaluate(
    encoder: Place,
    data: Place,
    *,
    recipe: str | None = None,
    settings: Settings | None = None,
    config: EvaluateConfig | None = None,
) -> Result:
    """Measure a frozen encoder: ``evaluate(...)["linear"].value``; nothing that needs labels where there are none."""
    folder = encoder_folder(encoder)
    overrides = _overrides(settings, "evaluate", config)
    prepared = stages.prepare_for(folder, str(data), recipe=recipe, overrides=overrides)
    describe(prepared.images)
    return stages.evaluate_stage(folder, prepared)


def explore(run: Place, *, out: Place | None = None, data: Place | None = None) -> Written:
    """Write the page on which a person looks through their images; see `clsp.study.explore.explore`.

    Args:
        run: the folder of a run or a comparison, or an encoder's.
        out: the HTML file; default ``explore.html`` in ``run``.
        data: a SOURCE, where it is not the run's own or lies elsewhere now.
    """
    from clsp.study.explore import explore as write

    return write(run, None if out is None else Path(out), None if data is None else str(data))
