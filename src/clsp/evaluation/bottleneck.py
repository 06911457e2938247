"""The diffusion model as an encoder: why train a second network at all?

Features are the middle block's output on noised images, the one that feature interpolation mixes, averaged over the
image. The noise level decides how good they are (Xiang et al., "Denoising Diffusion Autoencoders are Unified
Self-supervised Learners", arXiv 2303.09769), so it is chosen on the held-out part of train.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clsp import files, randomness
from clsp.diffusion.interpolation import add_noise, encode
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.diffusion.unet import Grid
from clsp.errors import UserError
from clsp.evaluation import linear
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluate import Result, rate_features
from clsp.evaluation.task import Task

LEVELS = (0.01, 0.05, 0.1, 0.2, 0.4)
"""Noise levels that are tried, as shares of the model's time steps."""

_BATCH = 256


def evaluate_bottleneck(
    diffusion: str | Path, task: Task, config: EvaluateConfig, *, seed: int, device: torch.device | str = "cpu"
) -> Result:
    """Rate the middle features of a diffusion model as those of an encoder.

    Args:
        diffusion: the diffusion stage's folder, or any diffusers folder or hub id.
        task: images and labels.
        config: the protocol.
        seed: names the noise.
        device: where the U-Net works.

    Raises:
        UserError: the images have no labels.
    """
    if not task.classes or task.train.labels is None:
        raise UserError("the diffusion model's features are rated by labels, and these images have none")
    pipeline = SyntheticPositivePipeline.from_pretrained(diffusion).to(device)
    known = sorted({min(level, pipeline.max_strength) for level in LEVELS})
    train = {level: bottleneck(pipeline, task.train.images, level, seed=seed) for level in known}
    labels = task.train.labels
    level = max(known, key=lambda level: _held_out(train[level], labels, task))
    test = bottleneck(pipeline, task.test.images, level, seed=seed + 1)
    result = rate_features(train[level], test, task, config)
    assert result.linear is not None and result.knn is not None
    note = f"; features of the diffusion model's middle block at noise level {level:g} of its range, chosen likewise"
    return replace(
        result,
        linear=replace(result.linear, protocol=result.linear.protocol + note),
        knn=replace(result.knn, protocol=result.knn.protocol + note),
    )


@torch.no_grad()
def bottleneck(pipeline: SyntheticPositivePipeline, images: files.Array, level: float, *, seed: int) -> Tensor:
    """Compute the averaged middle features of uint8 images [N, C, H, W], noised to ``level``: float32 [N, D].

    The U-Net's device computes them; they come back to the CPU.
    """
    unet, scheduler = pipeline.unet.eval(), pipeline.scheduler
    time = torch.tensor(int(level * (scheduler.config.num_train_timesteps - 1)))
    grid = Grid.of(unet, images.shape[1])
    features = []
    for first in range(0, len(images), _BATCH):
        rows = np.arange(first, min(first + _BATCH, len(images)))
        pixels, places = (torch.from_numpy(part).to(unet.device) for part in (files.take(images, rows), rows))
        batch = grid.enter(pixels.float() / 127.5 - 1.0)
        noise = randomness.normal(seed, "bottleneck noise", (places,), batch.shape[1:])
        noised = add_noise(scheduler, batch, noise, time)
        features.append(encode(unet, noised, time).middle.float().mean(dim=(2, 3)).cpu())
    return torch.cat(features)


def _held_out(features: Tensor, labels: np.ndarray, task: Task) -> float:
    """Accuracy on the held-out part of train of a probe that is fitted on the rest."""
    fit, held = features.numpy(), task.held
    probe = linear.LinearProbe(fit[~held], labels[~held], 1.0)
    return float((probe.scores(fit[held], task.classes).argmax(axis=1) == labels[held]).mean())
