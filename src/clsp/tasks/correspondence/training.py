"""One step of the training: views of an image attract each other, and ways over another image come back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from clsp import randomness
from clsp.encoders.heads import feature_count
from clsp.engine.batches import Batches
from clsp.engine.course import Course
from clsp.engine.fit import StepOutput, Training
from clsp.engine.pixels import Pixels
from clsp.objectives.cycle import cycle
from clsp.objectives.nt_xent import nt_xent
from clsp.tasks.correspondence.config import DenseConfig
from clsp.tasks.correspondence.features import maps_and_features
from clsp.tasks.correspondence.geometry import apply, attention_of, centres, cut, draw_maps
from clsp.tasks.views import Drawing, rising_and_falling

Other = Callable[[Tensor, int], Tensor]
"""Gives, for places among the images trained on and a step, the other image of each, uint8 [B, C, H, W]."""


class Corresponding(Training[StepOutput]):
    """Trains an encoder.

    Args:
        encoder: of timm.
        config: its settings.
        drawing: draws views; its seed names the order of the images, and all draws.
        pixels: the images trained on.
        ids: their dataset indices, which name all draws, int64 [N].
        other: makes what gives the other image of a way, on a device; None: another view of the image itself.
    """

    def __init__(
        self,
        encoder: nn.Module,
        config: DenseConfig,
        drawing: Drawing,
        pixels: Pixels,
        ids: np.ndarray,
        *,
        other: Callable[[torch.device], Other] | None = None,
    ) -> None:
        super().__init__()
        self.seed = drawing.seed
        self.encoder, self.config, self.drawing, self.pixels = encoder, config, drawing, pixels
        self.projector = nn.Linear(feature_count(encoder), config.dim)
        self.ids, self.other = torch.from_numpy(ids), other
        self.batches = Batches(len(pixels), config.batch_size, seed=self.seed, stream="dense", drop_last=True)
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.course, self.gradient_clip = Course(self.steps_per_epoch * config.epochs), 1.0
        self._drawn: Other | None = None

    def to_device(self, device: torch.device) -> None:
        """Move what fits to the device, once, and make what gives other images there."""
        self.pixels.to(device)
        self.ids = self.ids.to(device)
        self._drawn = None if self.other is None else self.other(device)

    def step(self, number: int) -> StepOutput:
        """Compute a step; ``number`` names all draws."""
        positions = self.batches.positions(number, self.drawing.device)
        ids, pixels = self.ids[positions], self.pixels[positions]
        views = torch.cat([self.drawing(pixels, ids, number, view) for view in (0, 1)])
        _, features = maps_and_features(self.encoder, views, self.config.layer)
        first, second = self.projector(features).chunk(2)
        terms = {"contrast": nt_xent(first, second, self.config.temperature)}
        if self.config.cycle.weight:
            terms["cycle"] = self.config.cycle.weight * self._cycle(positions, pixels, ids, number)
        return StepOutput(terms)

    def _cycle(self, positions: Tensor, pixels: Tensor, ids: Tensor, number: int) -> Tensor:
        """The way from a patch of each image over the other one and back."""
        config = self.config.cycle
        source = self.drawing.normalised(pixels.float() / 255.0)
        other = self._over(positions, pixels, ids, number)
        maps, _ = maps_and_features(self.encoder, torch.cat((source, other)), self.config.layer)
        here, there = maps.chunk(2)
        draws = randomness.uniform(self.seed, "patch", (number, ids), 2)
        placed = draw_maps(draws, attention_of(here), config.side, config.degrees)
        patch, _ = maps_and_features(self.encoder, cut(source, placed, self._patch_side), self.config.layer)
        places = centres(here.shape[2], here.shape[3], here.device)
        truth = apply(placed, centres(patch.shape[2], patch.shape[3], here.device))
        start, back, over = (part.flatten(2) for part in (patch, here, there))
        return cycle(start, back, over, config.temperature, places=places, truth=truth)

    @property
    def _patch_side(self) -> int:
        """Pixels of a patch: as many as it covers in its image, a multiple of 8."""
        return max(8 * round(self.config.cycle.side * self.pixels.shape[2] / 8), 8)

    def _over(self, positions: Tensor, pixels: Tensor, ids: Tensor, number: int) -> Tensor:
        """The other image of each way, normalised."""
        if self._drawn is None:
            return self.drawing(pixels, ids, number, 2)
        return self.drawing.normalised(self._drawn(positions, number).float() / 255.0)

    def blank_step(self, images: int) -> None:
        """A step's forward and backward pass on so many images without content, to reckon what it takes."""
        blank = self.drawing.blank(images * (5 if self.config.cycle.weight else 2), self.pixels.shape)
        maps, features = maps_and_features(self.encoder, blank, self.config.layer)
        (self.projector(features).square().mean() + maps.square().mean()).backward()

    def optimizer(self) -> tuple[Optimizer, LRScheduler]:
        """SGD with momentum; a short warm-up and a cosine to 0, by step."""
        config = self.config
        optimizer = torch.optim.SGD(self.parameters(), config.lr, momentum=0.9, weight_decay=config.weight_decay)
        return optimizer, rising_and_falling(optimizer, self.course, config.warmup)
