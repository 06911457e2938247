"""One step of the quantiser's training: quantised views of an image attract each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from clsp.engine.batches import Batches
from clsp.engine.course import Course
from clsp.engine.fit import StepOutput, Training
from clsp.engine.pixels import Pixels
from clsp.engine.schedule import warmup_factor
from clsp.images.augment import augment
from clsp.objectives.clipped import clipped_nt_xent
from clsp.positives.source import Draw
from clsp.tasks.retrieval.config import IndexConfig
from clsp.tasks.retrieval.quantiser import Quantiser, crowding, entropy


class Quantising(Training[StepOutput]):
    """Trains encoder and quantiser.

    Args:
        encoder: normalised images [B, C, H, W] to features [B, D].
        quantiser: of those features.
        config: its settings.
        pixels: the images trained on.
        ids: their dataset indices, which name all draws, int64 [N].
        mean: mean of the channels on [0, 1], float [C].
        std: their standard deviation, likewise.
        seed: names the order of the images, and all draws.
        candidates: makes what draws a candidate of each image, on a device; None: there are none.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        quantiser: Quantiser,
        config: IndexConfig,
        pixels: Pixels,
        ids: np.ndarray,
        mean: Tensor,
        std: Tensor,
        *,
        seed: int,
        candidates: Callable[[torch.device], Draw] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.quantiser, self.config = encoder, quantiser, config
        self.pixels, self.ids, self.seed, self.candidates = pixels, torch.from_numpy(ids), seed, candidates
        self.draw: Draw | None = None
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, -1, 1, 1), persistent=False)
        self.batches = Batches(len(pixels), config.batch_size, seed=seed, stream="index", drop_last=True)
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.course, self.gradient_clip = Course(self.steps_per_epoch * config.epochs), None
        if config.encoder_lr == 0.0:
            encoder.requires_grad_(False)

    def to_device(self, device: torch.device) -> None:
        """Move what fits to the device, once, and make what draws candidates there."""
        self.pixels.to(device)
        self.ids = self.ids.to(device)
        self.draw = None if self.candidates is None else self.candidates(device)

    def step(self, number: int) -> StepOutput:
        """Compute a step; ``number`` names all draws."""
        config, positions = self.config, self.batches.positions(number).to(self.mean.device)
        if config.encoder_lr == 0.0:
            self.encoder.eval()
        ids, pixels = self.ids[positions], self.pixels[positions]
        images = [pixels, pixels]
        if self.draw is not None:
            images.append(self.draw(positions, pixels, number).images)
        views = [self._view(image, ids, number, view) for view, image in enumerate(images)]
        embedded, choices = self.quantiser(self.encoder(torch.cat(views)))
        first, second, *positive = embedded.chunk(len(views))
        terms = {"contrast": self._contrast(first, second)}
        if positive:
            terms["positive"] = config.positive_weight * self._contrast(first, positive[0])
        if config.entropy:
            terms["entropy"] = config.entropy * entropy(choices)
        if config.codebook:
            terms["codebook"] = config.codebook * crowding(self.quantiser.unit_words)
        return StepOutput(terms)

    def _contrast(self, first: Tensor, second: Tensor) -> Tensor:
        clip = self.config.clip
        return clipped_nt_xent(first, second, self.config.temperature, count=clip.count, threshold=clip.threshold)

    def _view(self, pixels: Tensor, ids: Tensor, number: int, view: int) -> Tensor:
        """Augmented, normalised images, float [B, C, S, S]."""
        views = torch.full_like(ids, view)
        drawn = augment(pixels, self.config.augment, seed=self.seed, step=number, ids=ids, views=views)
        return drawn.sub_(self.mean).div_(self.std)

    def blank_step(self, images: int) -> None:
        """A step's forward and backward pass on so many images without content, to reckon what it takes."""
        side, count = self.config.augment.size or self.pixels.shape[2], images * (2 if self.candidates is None else 3)
        blank = torch.zeros(count, self.pixels.shape[1], side, side, device=self.mean.device)
        self.quantiser(self.encoder(blank))[0].square().mean().backward()

    def optimizer(self) -> tuple[Optimizer, LRScheduler]:
        """SGD with momentum; a short warm-up and a cosine to 0, by step."""
        config = self.config
        groups: list[dict[str, Any]] = [{"params": list(self.quantiser.parameters()), "lr": config.lr}]
        if config.encoder_lr:
            groups.append({"params": list(self.encoder.parameters()), "lr": config.lr * config.encoder_lr})
        optimizer = torch.optim.SGD(groups, config.lr, momentum=0.9, weight_decay=config.weight_decay)
        warmup = round(config.warmup * self.course.planned)

        def rate(step: int) -> float:
            return warmup_factor(self.course.at(step), total=self.course.planned, warmup=warmup, shape="cosine")

        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
