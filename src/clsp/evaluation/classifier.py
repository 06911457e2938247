"""The loop that trains a classifier on labelled images: the judge of candidates, and encoders with few labels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsp import console, files
from clsp.encoders.export import EncoderSpec
from clsp.engine.batches import Batches
from clsp.engine.pixels import Pixels
from clsp.images.augment import augment
from clsp.images.config import AugmentConfig

MILD = AugmentConfig(crop_scale=[0.6, 1.0], flip=0.0, jitter=0.0, gray=0.0)
"""Crops of at least three fifths of the image and nothing else: what any label survives."""


class _Alone(Batches):
    """Batches of a process that trains alone: evaluation is the first one's, also where pretraining has several."""

    def rows(self) -> Tensor:
        return torch.arange(self.batch_size)


def fit_classifier(
    model: nn.Module,
    images: files.Array,
    labels: np.ndarray,
    spec: EncoderSpec,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    title: str,
) -> None:
    """Minimise the cross-entropy on lightly augmented images, the rate rising and falling once; on the model's device.

    Args:
        model: normalised images [B, C, H, W] to logits [B, classes], in the mode it is to be trained in.
        images: uint8 [N, C, H, W], in memory, memory-mapped or lazy.
        labels: int64 [N].
        spec: says how the images are normalised.
        optimizer: of the model's parameters; its rate is the highest one.
        steps: steps of the optimizer.
        batch_size: images a step, at most N.
        seed: names the order of the images and the augmentation.
        title: what the progress line says.
    """
    device = next(model.parameters()).device
    pixels, targets = Pixels(images).to(device), torch.from_numpy(labels).to(device)
    mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (spec.mean, spec.std))
    batches = _Alone(len(images), batch_size, seed=seed, stream="classifier", drop_last=False)
    highest = optimizer.param_groups[0]["lr"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, total_steps=steps)
    with console.progress(title, steps, "steps") as bar:
        for step in range(steps):
            places = batches.positions(step, device)
            drawn = augment(pixels[places], MILD, seed=seed, step=step, ids=places, views=torch.zeros_like(places))
            loss = F.cross_entropy(model((drawn - mean) / std), targets[places])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.advance(1, loss=loss.detach())
