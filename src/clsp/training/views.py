"""The views of a batch: all drawn together, each by what its method wants of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from clsp.images.augment import Crops, augment, draw_crops
from clsp.images.config import AugmentConfig
from clsp.methods.base import Method

_FIRST_LOCAL, _FURTHER = 3, 1000
"""Number of the first local crop: the two views' and the additional positive's come before it; and what is added to the
numbers of further positives, which would else be the local crops'."""


Kind = Method | type[Method]


def draw_views(
    images: Sequence[Tensor], method: Kind, config: AugmentConfig, *, seed: int, step: int, ids: Tensor
) -> list[Tensor]:
    """Draw one random view of every image.

    Args:
        images: what the first view, the second one and the additional positives, where there are some, are made of,
            uint8 [B, C, H, W] each.
        method: says how its views differ.
        config: what may change.
        seed: the run's seed.
        step: the training step.
        ids: dataset indices of the anchors, int64 [B].

    Returns:
        For each of ``images`` float32 [B, C, S, S] in [0, 1].
    """

    def drawn(numbers: Sequence[int], changes: AugmentConfig) -> tuple[Tensor, ...]:
        count, pixels = len(numbers), torch.cat([images[number] for number in numbers])
        views = torch.cat([torch.full_like(ids, _named(number)) for number in numbers])
        together = augment(pixels, changes, seed=seed, step=step, ids=ids.repeat(count), views=views)
        return together.chunk(count)

    if not method.weak_second:
        return list(drawn(range(len(images)), config))
    first, *positive = drawn([number for number in range(len(images)) if number != 1], config)
    return [first, *drawn([1], crops_alone(config)), *positive]


def _named(number: int) -> int:
    """The number that names a view's random draws."""
    return number if number < _FIRST_LOCAL else _FURTHER + number


def draw_local(
    images: Tensor, method: Kind, config: AugmentConfig, *, seed: int, step: int, ids: Tensor
) -> tuple[Tensor, ...]:
    """Draw the local crops of every image, for methods that take them: float32 [B, C, S, S] in [0, 1] each."""
    count = config.local_crops if method.multi_crop else 0
    if not count:
        return ()
    side = config.local_side(images.shape[2])
    local = replace(config, size=side, crop_scale=config.local_scale)
    views = torch.arange(_FIRST_LOCAL, _FIRST_LOCAL + count, device=ids.device).repeat_interleave(len(ids))
    together = augment(images.repeat(count, 1, 1, 1), local, seed=seed, step=step, ids=ids.repeat(count), views=views)
    return together.chunk(count)


def crops_of(
    count: int, method: Kind, config: AugmentConfig, *, seed: int, step: int, ids: Tensor
) -> tuple[Crops, ...] | None:
    """Return where the first ``count`` views that `draw_views` makes lie; None for methods that do not ask for it."""
    if not method.patches:
        return None
    numbers = (torch.full_like(ids, _named(number)) for number in range(count))
    return tuple(draw_crops(config, seed=seed, step=step, ids=ids, views=views) for views in numbers)


def crops_alone(config: AugmentConfig) -> AugmentConfig:
    """Return ``config`` without what it does to colours and sharpness: ReSSL's weak augmentation."""
    return replace(config, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0)
