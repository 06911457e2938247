"""One step of the training: images and captions, with soft targets for a growing part of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from clsp import randomness
from clsp.engine.batches import Batches
from clsp.engine.course import Course
from clsp.engine.fit import StepOutput, Training
from clsp.engine.pixels import Pixels
from clsp.objectives.progressive import progressive_clip
from clsp.positives.source import Draw
from clsp.tasks.job import Draws
from clsp.tasks.text.config import TextConfig
from clsp.tasks.text.pretrained import PretrainedTower
from clsp.tasks.text.tower import Pairing
from clsp.tasks.views import Drawing, rising_and_falling


class Captioning(Training[StepOutput]):
    """Trains both encoders.

    Args:
        pairing: the encoders.
        config: its settings.
        drawing: draws views; its seed names the order of the pairs, and all draws.
        pixels: the images trained on.
        tokens: their captions, int64 [N, L].
        ids: their dataset indices, which name all draws, int64 [N].
        candidates: makes what draws a candidate of each image, on a device; None: there are none.
    """

    def __init__(
        self,
        pairing: Pairing,
        config: TextConfig,
        drawing: Drawing,
        pixels: Pixels,
        tokens: Tensor,
        ids: np.ndarray,
        *,
        candidates: Draws | None = None,
    ) -> None:
        super().__init__()
        self.seed = drawing.seed
        self.pairing, self.config, self.drawing, self.pixels = pairing, config, drawing, pixels
        self.tokens, self.ids, self.candidates = tokens, torch.from_numpy(ids), candidates
        self.draw: Draw | None = None
        self.batches = Batches(len(pixels), config.batch_size, seed=self.seed, stream="text", drop_last=True)
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.course, self.gradient_clip = Course(self.steps_per_epoch * config.epochs), 1.0

    def to_device(self, device: torch.device) -> None:
        """Move what fits to the device, once, and make what draws candidates there."""
        self.pixels.to(device)
        self.ids, self.tokens = self.ids.to(device), self.tokens.to(device)
        self.draw = None if self.candidates is None else self.candidates(device)

    def step(self, number: int) -> StepOutput:
        """Compute a step; ``number`` names all draws."""
        positions = self.batches.positions(number, self.drawing.device)
        ids, pixels = self.ids[positions], self.pixels[positions]
        images = [self.drawing(pixels, ids, number, 0)]
        if self.draw is not None:
            images.append(self.drawing(self.draw(positions, pixels, number).images, ids, number, 1))
        embedded = self.pairing.images(torch.cat(images)).chunk(len(images))
        texts = self.pairing.texts(self.tokens[positions])
        soft = self.soft(embedded[0], texts, ids, number)
        terms = {"contrast": self._contrast(embedded[0], texts, soft)}
        if len(embedded) > 1:
            terms["positive"] = self.config.positive_weight * self._contrast(embedded[1], texts, soft)
        return StepOutput(terms)

    def _contrast(self, images: Tensor, texts: Tensor, soft: Tensor | None) -> Tensor:
        chosen, scale = self.config.progressive, self.pairing.scale
        options: dict[str, Any] = {"swapped": chosen.swapped, "smoothing": self.config.smoothing}
        if soft is not None:
            options |= {"soft": soft, "sharpness": chosen.sharpness}
        return progressive_clip(images, texts, scale, **options)

    def share(self, number: int) -> float:
        """The fraction of the batch that has soft targets in a step."""
        chosen = self.config.progressive
        return chosen.first + (chosen.last - chosen.first) * self.course.at(number) / max(self.course.planned, 1)

    @torch.no_grad()
    def soft(self, images: Tensor, texts: Tensor, ids: Tensor, number: int) -> Tensor | None:
        """Which rows of this process's batch have soft targets, bool [B]; None: none has."""
        count = round(self.share(number) * len(ids))
        if not count:
            return None
        if self.config.progressive.partition == "score":
            order = F.cosine_similarity(images.float(), texts.float(), dim=1)
        else:
            order = randomness.uniform(self.seed, "soft rows", (number, ids), 1)[:, 0]
        rows = torch.argsort(order, stable=True)[:count]
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device).index_fill_(0, rows, True)

    def blank_step(self, images: int) -> None:
        """A step's forward and backward pass on so many images without content, to reckon what it takes."""
        blank = self.drawing.blank(images * (1 if self.candidates is None else 2), self.pixels.shape)
        text = torch.ones(images, self.tokens.shape[1], dtype=torch.int64, device=self.drawing.device)
        (self.pairing.images(blank).square().mean() + self.pairing.texts(text).square().mean()).backward()

    def optimizer(self) -> tuple[Optimizer, LRScheduler]:
        """AdamW, whose decay spares biases, norms and the scale; a warm-up and a cosine to 0, by step."""
        config, tower = self.config, self.pairing.tower
        borrowed = set(tower.parameters()) if isinstance(tower, PretrainedTower) else set[nn.Parameter]()
        trained = [p for p in self.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = []
        for slow, rate in ((False, config.lr), (True, config.lr * config.tower.lr_factor)):
            for matrices, decay in ((True, config.weight_decay), (False, 0.0)):
                some = [p for p in trained if (p in borrowed) == slow and (p.ndim > 1) == matrices]
                groups += [{"params": some, "weight_decay": decay, "lr": rate}] if some else []
        optimizer = torch.optim.AdamW(groups, config.lr, betas=(0.9, 0.98), eps=1e-6)
        return optimizer, rising_and_falling(optimizer, self.course, config.warmup)
