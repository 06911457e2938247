"""A study in the making: which arms, with which seeds, on which images, in which folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsp import files
from clsp.engine.course import Pace
from clsp.engine.hardware import device_of
from clsp.engine.record import read_record, require_record
from clsp.errors import UserError
from clsp.evaluation.bottleneck import Diffusion
from clsp.evaluation.task import Task, make_task, set_apart
from clsp.evaluation.trained import Encoder, Trained
from clsp.images.imageset import split_fingerprint, subset
from clsp.positives.bank import PositiveBank
from clsp.recipes.arms import DIFFUSION, Arm
from clsp.recipes.prepare import Prepared
from clsp.study.clock import Clock

_SEED = re.compile(r"seed-(0|-?[1-9]\d*)")


@dataclass(frozen=True)
class Study:
    """Every arm with every seed, on the same images and bank."""

    prepared: Prepared
    out: Path
    arms: list[Arm]
    seeds: list[int]
    main: Arm
    """The arm whose first seed a user takes away, and of which there are pictures."""
    baseline: Arm
    """What the others are compared with."""
    compared: list[tuple[Arm, Arm]]
    """The differences that are told first: each first arm minus the second."""
    bank: PositiveBank | None
    gate: dict[str, Any] | None = None
    """The verdict on the bank and what followed from it, see `clsp.study.gate`; None: no arm needed a bank."""
    clock: Clock | None = None
    """What time the stages have; None: as long as they take."""

    def pace(self, arm: Arm, seed: int) -> Pace | None:
        """The pace of a cell's training: the main arm takes what its time allows, the others as many steps."""
        if self.clock is None:
            return None
        folder, main = self.folder(arm, seed), self.folder(self.main, self.seeds[0])
        if folder == main:
            return self.clock.pace(arm.name, folder)
        first = require_record(main)
        steps = first.number("steps")
        return self.clock.pace(arm.name, folder, compared=steps / first.facts.get("planned", steps))

    def folder(self, arm: Arm, seed: int) -> Path:
        """Where a cell lies: what was trained, and its evaluation."""
        return self.out / "arms" / arm.name / f"seed-{seed}"

    @property
    def device(self) -> torch.device:
        """Where networks work."""
        return device_of(self.prepared.recipe.hardware)

    @cached_property
    def unseen(self) -> np.ndarray:
        """Train images that every cell is tested on, int64: no training may see their labels."""
        return set_apart(self.prepared.images, self.prepared.recipe.evaluate, seed=self.prepared.recipe.seed)

    @cached_property
    def task(self) -> Task:
        """What every cell is evaluated on."""
        return make_task(self.prepared.images, self.prepared.recipe.evaluate, seed=self.prepared.recipe.seed)

    @property
    def data(self) -> str:
        """The fingerprint of the train images."""
        return self.prepared.images.fingerprint

    @cached_property
    def test(self) -> str:
        """The fingerprint of the test images."""
        images = self.prepared.images
        return split_fingerprint(images.test) if images.test is not None else "none"

    def trained(self, arm: Arm, seed: int) -> Trained:
        """What a cell trained, ready to be evaluated."""
        config = self.prepared.recipe.evaluate
        if not arm.trains:
            return Diffusion(self.diffusion(), self.task, seed=seed, device=self.device)
        shown = (arm, seed) == (self.main, self.seeds[0])  # its features serve the pictures, too
        cache = self.out / "evaluation" / "features.safetensors" if shown else None
        folder = self.folder(arm, seed)
        return Encoder(folder, self.task, device=self.device, batch_size=config.batch_size, cache=cache)

    def identity(self, arm: Arm, seed: int) -> tuple[str, bool]:
        """A fingerprint of what a cell trained, and whether that is still there.

        The weights of what was evaluated may be deleted: many arms fill a disk.

        Raises:
            UserError: they are gone, and were not evaluated.
        """
        if not arm.trains:
            assert self.bank is not None
            return self.bank.unet, True
        folder = self.folder(arm, seed)
        weights, evaluated = folder / "encoder.safetensors", folder / "evaluation" / "stage.json"
        if weights.exists():
            return files.file_hash(weights)[:16], True
        if not evaluated.exists():
            raise UserError(f"{weights} is gone, and was not evaluated before; delete {folder} to train it again")
        with files.foreign(evaluated):
            return require_record(evaluated.parent).inputs["encoder"], False

    def diffusion(self) -> Path:
        """The folder of the diffusion model that made the bank: where a study puts it, beside the bank.

        Raises:
            UserError: it is not there, or another model is.
        """
        assert self.bank is not None
        folder = self.bank.folder.resolve().parent / "diffusion"
        record = read_record(folder)
        if record is None or record.facts.get("unet") != self.bank.unet:
            raise UserError(
                f"arm '{DIFFUSION}' evaluates the model that made the bank, and {folder} does not hold it; "
                "give a bank that lies beside its model, as 'clsp run' makes it"
            )
        return folder

    @cached_property
    def known_bank(self) -> PositiveBank | None:
        """The bank: that of this call, or, where none of its arms needs one, what an earlier call made here.

        Raises:
            UserError: that one is damaged.
        """
        folder = self.out / "positives"
        if self.bank is None and (record := read_record(folder)) is not None and record.finished:
            return PositiveBank.open(folder)
        return self.bank

    def anchors(self) -> np.ndarray:
        """The images that all arms and seeds are trained on: those that have, or would have, candidates.

        They are the same whichever arms a call has, so that arms may be added to a study.
        """
        recipe, total = self.prepared.recipe, len(self.prepared.images.train)
        if recipe.pretrain.images is None and self.bank is not None:
            return self.bank.ids
        return subset(total, recipe.pretrain.images or recipe.synthesize.anchors, seed=recipe.seed)


def seed_of(name: str) -> int | None:
    """The seed of a cell whose folder has this name, see `Study.folder`; None: it is no cell's."""
    found = _SEED.fullmatch(name)
    return int(found[1]) if found else None
