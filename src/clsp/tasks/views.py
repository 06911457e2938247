"""What the trainings of all tasks share: views of images, and a learning rate that rises and falls once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from clsp.encoders.export import EncoderSpec
from clsp.engine.course import Course
from clsp.engine.schedule import warmup_factor
from clsp.images.augment import augment
from clsp.images.config import AugmentConfig


class Drawing(nn.Module):
    """Draws views of images, normalised for an encoder, on the device that it is moved to.

    Args:
        spec: of the encoder: mean and standard deviation.
        config: what a view may change.
        seed: names all draws.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: EncoderSpec, config: AugmentConfig, *, seed: int) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, -1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where views are drawn."""
        return self.mean.device

    def forward(self, pixels: Tensor, ids: Tensor, step: int, view: int) -> Tensor:
        """Draw a view of each image.

        Args:
            pixels: uint8 [B, C, H, W].
            ids: dataset indices, which name the draws, int64 [B].
            step: the training step.
            view: the view's number.

        Returns:
            float [B, C, S, S].
        """
        views = torch.full_like(ids, view)
        drawn = augment(pixels, self.config, seed=self.seed, step=step, ids=ids, views=views)
        return drawn.sub_(self.mean).div_(self.std)

    def normalised(self, images: Tensor) -> Tensor:
        """Normalise images in [0, 1]."""
        return (images - self.mean) / self.std

    def blank(self, images: int, pixels: tuple[int, ...]) -> Tensor:
        """So many views without content of images of the shape ``pixels`` [N, C, H, W]."""
        side = self.config.size or pixels[2]
        return torch.zeros(images, pixels[1], side, side, device=self.device)


def rising_and_falling(optimizer: Optimizer, course: Course, warmup: float) -> LambdaLR:
    """A rate that rises linearly for a fraction ``warmup`` of the training, and falls along a cosine to 0, by step."""

    def factor(step: int) -> float:
        rise = round(warmup * course.planned)
        return warmup_factor(course.at(step), total=course.planned, warmup=rise, shape="cosine")

    return LambdaLR(optimizer, factor)
