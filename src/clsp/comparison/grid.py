"""A comparison in the making: which arms, with which seeds, in which folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clsp import files
from clsp.comparison.arms import DIFFUSION, Arm
from clsp.errors import UserError
from clsp.images.imageset import subset
from clsp.positives.bank import PositiveBank
from clsp.workflow import Prepared


@dataclass(frozen=True)
class Grid:
    """Every arm with every seed, on the same images and bank."""

    prepared: Prepared
    out: Path
    arms: list[Arm]
    seeds: list[int]
    baseline: Arm
    bank: PositiveBank | None

    def folder(self, arm: Arm, seed: int) -> Path:
        """Where a cell's encoder lies."""
        return self.out / "arms" / arm.name / f"seed-{seed}"

    def diffusion(self) -> Path:
        """The folder of the diffusion model that made the bank: where a run puts it, beside the bank.

        Raises:
            UserError: it is not there, or another model is.
        """
        assert self.bank is not None
        folder = self.bank.folder.resolve().parent / "diffusion"
        path = folder / "stage.json"
        if not path.is_file() or files.read_json(path)["facts"].get("unet") != self.bank.manifest["unet"]:
            raise UserError(
                f"arm '{DIFFUSION}' rates the model that made the bank, and {folder} does not hold it; "
                "give a bank that lies beside its model, as 'clsp run' makes it"
            )
        return folder

    def anchors(self) -> np.ndarray:
        """The images that all arms and seeds are trained on: with a bank, those that have candidates."""
        recipe, total = self.prepared.recipe, len(self.prepared.images.train)
        if recipe.pretrain.images is None and self.bank is not None:
            return self.bank.ids
        return subset(total, recipe.pretrain.images, seed=recipe.seed)
