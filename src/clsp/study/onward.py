"""A training that goes on from another one's end, by that one's own recipe, data and positives."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clsp import console, distributed, files
from clsp.engine.record import read_record
from clsp.errors import UserError
from clsp.positives.named import named_positives
from clsp.recipes.arms import EXTRA, Arm, parse_arm
from clsp.recipes.recipe import Recipe, load_recipe
from clsp.settings.identity import reads
from clsp.settings.values import Tree, flat, merge, nested
from clsp.study.ways import source_of
from clsp.text import option_in
from clsp.training.config import PretrainConfig

_CHECKPOINT = Path("checkpoints") / "last.safetensors"


@dataclass(frozen=True)
class Onward:
    """What a training is continued with."""

    training: Path
    """The folder of the training that is continued."""
    recipe: Path
    """Its recipe."""
    data: str
    """Its SOURCE."""
    positives: str | None
    """What ``--positives`` of ``clsp pretrain`` says of its positives."""
    own: Tree = field(default_factory=dict)
    """What the training had of the section ``pretrain`` that its recipe does not say, nested."""

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that take over all that it had learnt."""
        return {"pretrain": {**self.own, "weights": str(self.training), "continued": True}}


def find_training(place: str | Path, positives: str | Path | None = None) -> Onward:
    """Find the training to continue: an encoder's folder that ``clsp pretrain`` wrote, or the main one of a run.

    Args:
        place: the folder.
        positives: what takes the place of its positives, as ``--positives`` says it; None: they stay.

    Raises:
        UserError: there is none, or its checkpoint was deleted.
    """
    folder = Path(place)
    path = folder / "recipe.yaml"
    if not path.is_file():
        raise UserError(f"{place}: no recipe.yaml there; give the --out of 'clsp pretrain' or 'clsp run'")
    record = files.read_yaml(path, fix="give another folder")
    with files.foreign(path, "give another folder", what="is not what clsp wrote"):
        data, command = source_of(record, folder), shlex.split(record["command"])
    if (folder / "arms").is_dir():
        training, named, own = _main(folder, positives)
    else:
        training, named, own = folder, option_in(command, "positives"), {}
    if not (training / _CHECKPOINT).is_file():
        raise UserError(
            f"{training}: {_CHECKPOINT} is gone, and with it heads and averages; start from the encoder alone: "
            f"clsp pretrain --pretrain.weights {place}"
        )
    return Onward(training, path, data, named if positives is None else str(positives), own)


def _main(folder: Path, positives: str | Path | None) -> tuple[Path, str | None, Tree]:
    """The folder of a run's main training, its positives, and what its arm says.

    The bank's place may have been taken by others.
    """
    recipe, told = load_recipe(str(folder / "recipe.yaml")), folder / "evaluation" / "metrics.json"
    arm = recipe.arm
    if told.exists():
        with files.foreign(told):
            arm = parse_arm(files.read_json(told)["arm"])
    config = recipe.pretraining(arm)
    source, bank = config.positive.chosen, folder / "positives"
    needs = source is not None and source.needs_bank
    named = f"{EXTRA if config.extra else arm.source}:{bank}" if needs or config.extra else arm.source
    return folder / "arms" / arm.name / f"seed-{recipe.seed}", named, _own(recipe, arm, config, positives)


def _own(recipe: Recipe, arm: Arm, config: PretrainConfig, positives: str | Path | None) -> Tree:
    """The words of an arm as settings, and what ``per_method`` says under its name.

    Where positives of another kind are asked for, only the method's name is taken over: the rest speaks of the old.
    """
    kind = EXTRA if arm.extra else arm.source
    if positives is not None and named_positives(str(positives), more=(EXTRA,)).source != kind:
        return {"method": arm.method}
    said = merge(PretrainConfig, *(recipe.per_method.get(name, {}) for name in arm.general()))
    read = {name: value for name, value in flat(said, PretrainConfig).items() if reads(config, name)}
    return merge(PretrainConfig, nested(read), arm.settings())


def tell_schedule(found: Onward, config: PretrainConfig) -> None:
    """Say what is done anew and what is not."""
    record = read_record(found.training)
    rising = min(config.warmup_epochs, config.epochs / 2)
    done = "?" if record is None else record.settings.get("epochs", "?")
    if distributed.rank() == 0:
        console.say(
            f"continue: {config.method} of {found.training}, which was planned for {done} epochs, for {config.epochs} "
            f"more: learning rate {config.lr:g} after {rising:g} epochs of warm-up, then a cosine to 0; "
            "the optimiser begins anew"
        )
