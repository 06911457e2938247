"""The diffusion model as an encoder: why train a second network at all?

Features are the middle block's output on noised images, the one that feature interpolation mixes, averaged over the
image. The noise level decides how good they are (Xiang et al., "Denoising Diffusion Autoencoders are Unified
Self-supervised Learners", arXiv 2303.09769), so it is chosen on the held-out part of train.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clsp import files, randomness
from clsp.diffusion.interpolation import add_noise, encode
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.diffusion.unet import Grid
from clsp.engine.memory import in_batches
from clsp.errors import UserError
from clsp.evaluation.evaluators.linear import LinearProbe
from clsp.evaluation.task import Task
from clsp.evaluation.trained import Trained

LEVELS = (0.01, 0.05, 0.1, 0.2, 0.4)
"""Noise levels that are tried, as fractions of the model's time steps."""

_BATCH = 256


class Diffusion(Trained):
    """A diffusion model, evaluated by its middle features as an encoder is by its own.

    Args:
        folder: the diffusion stage's folder, or any diffusers folder.
        data: the task that it is evaluated on.
        seed: names the noise.
        device: where the U-Net works.

    Raises:
        UserError: the images have no labels, by which the noise level is chosen.
    """

    kind = "diffusion"

    def __init__(self, folder: Path, data: Task, *, seed: int, device: torch.device | str = "cpu") -> None:
        super().__init__(folder, data, device=device)
        if not data.has("label"):
            raise UserError("the diffusion model's features are evaluated by labels, and these images have none")
        self.pipeline, self.seed = SyntheticPositivePipeline.from_pretrained(folder).to(device), seed

    def features(self, images: files.Array) -> Tensor:
        """Middle features at the noise level that was chosen: float32 [N, D]."""
        return bottleneck(self.pipeline, images, self._chosen[0], seed=self.seed + 1)

    @property
    def note(self) -> str:  # type: ignore[override]
        """Which features they are."""
        level = self._chosen[0]
        return (
            f"; features of the diffusion model's middle block at noise level {level:g} of its range, chosen likewise"
        )

    @cached_property
    def _chosen(self) -> tuple[float, Tensor]:
        """The level that does best on the held-out train images, and the train images' features at it."""
        known, labels = sorted({min(level, self.pipeline.max_strength) for level in LEVELS}), self.data.train.labels
        train = {level: bottleneck(self.pipeline, self.data.train.images, level, seed=self.seed) for level in known}
        assert labels is not None
        level = max(known, key=lambda level: _held_out(train[level], labels, self.data))
        return level, train[level]

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor]:
        return self._chosen[1], self.features(self.data.test.images)


@torch.no_grad()
def bottleneck(pipeline: SyntheticPositivePipeline, images: files.Array, level: float, *, seed: int) -> Tensor:
    """Compute the averaged middle features of uint8 images [N, C, H, W], noised to ``level``: float32 [N, D].

    The U-Net's device computes them; they come back to the CPU.
    """
    unet, scheduler = pipeline.unet.eval(), pipeline.scheduler
    time = torch.tensor(int(level * (scheduler.config.num_train_timesteps - 1)))
    grid = Grid.of(unet, images.shape[1])

    def features(first: int, last: int) -> Tensor:
        rows = np.arange(first, last)
        pixels, places = (torch.from_numpy(part).to(unet.device) for part in (files.take(images, rows), rows))
        batch = grid.enter(pixels.float() / 127.5 - 1.0)
        noise = randomness.normal(seed, "bottleneck noise", (places,), batch.shape[1:])
        noised = add_noise(scheduler, batch, noise, time)
        return encode(unet, noised, time).middle.float().mean(dim=(2, 3)).cpu()

    return torch.cat(in_batches(features, len(images), _BATCH))


def _held_out(features: Tensor, labels: np.ndarray, task: Task) -> float:
    """Accuracy on the held-out part of train of a probe that is fitted on the rest."""
    fit, held = features.numpy(), task.held
    probe = LinearProbe(fit[~held], labels[~held], 1.0)
    return float((probe.scores(fit[held], task.classes).argmax(axis=1) == labels[held]).mean())
