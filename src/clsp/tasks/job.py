"""What a task is asked to do, and the stage that all of them have: an encoder that is trained with something on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch

from clsp import distributed
from clsp.encoders.config import BackboneConfig
from clsp.engine.fit import Fit, Training
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import Precision, launch
from clsp.engine.pixels import Pixels
from clsp.engine.stage import Stage, stage
from clsp.errors import UserError
from clsp.images.imageset import Images
from clsp.positives.named import Named, require_plain
from clsp.positives.source import Draw, Material
from clsp.positives.sources import SOURCES
from clsp.tasks.prepare import TaskRecipe
from clsp.tasks.start import Beginning, find_beginning

R = TypeVar("R", bound=TaskRecipe)
Draws = Callable[[torch.device], Draw]
"""Makes what draws a candidate of each image, on a device."""


@dataclass(frozen=True)
class Job(Generic[R]):
    """What a task is asked to do."""

    images: Images
    recipe: R
    folder: Path
    """Where the result goes."""
    encoder: str | None = None
    """What the encoder begins as, see `clsp.tasks.start.find_beginning`."""
    positives: Named | None = None
    """Where another image of each one comes from, such as a bank of synthetic candidates; None: there is none."""
    more: Mapping[str, str | None] = field(default_factory=dict)
    """The task's further options."""

    def candidates(self, pixels: Pixels, ids: np.ndarray) -> Draws | None:
        """What draws candidates of the images trained on, once the device is known; None where no positives are named.

        Args:
            pixels: the images.
            ids: their dataset indices, int64 [N].
        """
        if self.positives is None:
            return None
        train = self.images.train
        material = Material(pixels, ids, None, train.images, train.names, self.positives.bank)
        return partial(_drawing, self.positives.source, material, self.recipe.seed)


def _drawing(source: str, material: Material, seed: int, device: torch.device) -> Draw:
    return SOURCES[source]().build(material, seed=seed, device=device)


class TrainedConfig(Protocol):
    """What the settings of all tasks' trainings have."""

    @property
    def backbone(self) -> BackboneConfig:
        """The network, where no encoder of clsp is named."""

    @property
    def batch_size(self) -> int:
        """Images a step, over all processes together."""

    @property
    def epochs(self) -> int:
        """Passes over the images; 0: nothing is trained."""

    @property
    def precision(self) -> Precision:
        """Of the networks."""

    @property
    def log_every(self) -> int:
        """Steps between two lines of metrics.jsonl."""

    @property
    def checkpoint_minutes(self) -> float:
        """Minutes between two checkpoints."""


def tested(images: Images) -> dict[str, str]:
    """What names the test part among a stage's inputs: other test images are measured anew."""
    return {"test": "none" if images.test is None else images.test.fingerprint}


Keep = Callable[[], dict[str, Any]]
"""Writes what was trained and measured, in the first process alone; returns the stage's facts."""


def train(
    job: Job[Any],
    config: TrainedConfig,
    *,
    title: str,
    section: str,
    count: int,
    makes: Sequence[str],
    build: Callable[[Beginning], tuple[Training[Any], Keep]],
    made: Mapping[str, str] | None = None,
    measures: bool = True,
) -> Stage:
    """Train what ``build`` makes into the job's folder, and keep it; what is finished there is not done again.

    Args:
        job: images, folder, encoder and positives.
        config: the task's section of the recipe.
        title: of the stage.
        section: the name of that section, for messages.
        count: images that are trained on.
        makes: patterns of the names of the files that the stage makes, besides those that every training makes.
        build: makes the training with its first weights, and what keeps its result.
        made: fingerprints of what is read besides the data, the encoder and the bank.
        measures: whether ``build``'s keeping measures on the test part, which then identifies the stage as well.

    Raises:
        UserError: the encoder cannot be read, the bank belongs to other data, the batch is larger than the data, a loss
            became non-finite, or the folder belongs to other settings.
    """
    hardware: HardwareConfig = job.recipe.hardware
    launch(hardware)
    if config.batch_size > count:
        raise UserError(f"--{section}.batch_size {config.batch_size} is larger than the {count} images; choose less")
    beginning = find_beginning(job.encoder, job.images, config.backbone)
    inputs = {**beginning.made, **(made or {}), **(tested(job.images) if measures else {})}
    if job.positives is not None:
        require_plain(job.positives)
        inputs |= job.positives.made
        if job.positives.bank is not None:
            job.positives.bank.require_data(job.images.fingerprint, job.images.source)
    seed, every = job.recipe.seed, ("encoder.safetensors", "config.json", "snippet.py", "metrics.jsonl")
    about: dict[str, Any] = {"data": job.images.fingerprint, "made": inputs}
    about["makes"] = (*every, "checkpoints/last.safetensors", *makes)
    with stage(title, job.folder, config, seed=seed, **about) as current:
        if current.finished:
            return current
        torch.manual_seed(seed)
        training, keep = build(beginning)
        if config.epochs:
            Fit(
                folder=job.folder,
                title=title,
                precision=config.precision,
                hardware=hardware,
                checkpoint_minutes=config.checkpoint_minutes,
                on_checkpoint=current.keep_time,
                log_every=config.log_every,
                batch_setting=f"{section}.batch_size",
            ).run(training)
        if distributed.rank() == 0:
            current.facts = keep()
    return current
