"""One step of the quantiser's training: quantised views of an image attract each other."""

from __future__ import annotations

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
from clsp.objectives.clipped import clipped_nt_xent
from clsp.positives.source import Draw
from clsp.tasks.job import Draws
from clsp.tasks.retrieval.config import IndexConfig
from clsp.tasks.retrieval.quantiser import Quantiser, crowding, entropy
from clsp.tasks.views import Drawing, rising_and_falling


class Quantising(Training[StepOutput]):
    """Trains encoder and quantiser.

    Args:
        encoder: normalised images [B, C, H, W] to features [B, D].
        quantiser: of those features.
        config: its settings.
        drawing: draws views; its seed names the order of the images, and all draws.
        pixels: the images trained on.
        ids: their dataset indices, which name all draws, int64 [N].
        candidates: makes what draws a candidate of each image, on a device; None: there are none.
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantiser: Quantiser,
        config: IndexConfig,
        drawing: Drawing,
        pixels: Pixels,
        ids: np.ndarray,
        *,
        candidates: Draws | None = None,
    ) -> None:
        super().__init__()
        self.seed = drawing.seed
        self.encoder, self.quantiser, self.config, self.drawing = encoder, quantiser, config, drawing
        self.pixels, self.ids, self.candidates = pixels, torch.from_numpy(ids), candidates
        self.draw: Draw | None = None
        self.batches = Batches(len(pixels), config.batch_size, seed=self.seed, stream="index", drop_last=True)
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
        config, positions = self.config, self.batches.positions(number, self.drawing.device)
        if config.encoder_lr == 0.0:
            self.encoder.eval()
        ids, pixels = self.ids[positions], self.pixels[positions]
        images = [pixels, pixels]
        if self.draw is not None:
            images.append(self.draw(positions, pixels, number).images)
        views = [self.drawing(image, ids, number, view) for view, image in enumerate(images)]
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

    def blank_step(self, images: int) -> None:
        """A step's forward and backward pass on so many images without content, to reckon what it takes."""
        blank = self.drawing.blank(images * (2 if self.candidates is None else 3), self.pixels.shape)
        self.quantiser(self.encoder(blank))[0].square().mean().backward()

    def optimizer(self) -> tuple[Optimizer, LRScheduler]:
        """SGD with momentum; a short warm-up and a cosine to 0, by step."""
        config = self.config
        groups: list[dict[str, Any]] = [{"params": list(self.quantiser.parameters()), "lr": config.lr}]
        if config.encoder_lr:
            groups.append({"params": list(self.encoder.parameters()), "lr": config.lr * config.encoder_lr})
        optimizer = torch.optim.SGD(groups, config.lr, momentum=0.9, weight_decay=config.weight_decay)
        return optimizer, rising_and_falling(optimizer, self.course, config.warmup)
