"""Random views of a batch of images, drawn for each image by itself, on the device where the images are.

torchvision's transforms draw once for a whole batch; these draw for every sample, from `clsp.randomness`, so that a
view is a pure function of (seed, step, image, view number), whatever the batch or the number of processes. Each
operation equals torchvision's on single images. One difference: the colour operations keep the order brightness,
contrast, saturation, hue, where torchvision shuffles it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from clsp import randomness
from clsp.images import colours
from clsp.images.config import AugmentConfig

_TRIES = 10
"""Crops that torchvision's RandomResizedCrop draws before it gives up and takes the whole image."""

_IN_CACHE = 64
"""Images that a CPU works on at once: their pixels stay in its cache from one operation to the next."""

CROP_DRAWS = 2 * _TRIES + 2
"""Uniform numbers that a crop takes: area and ratio of each try, and the place."""


class Crops(NamedTuple):
    """Where views lie in their images, as fractions of a square image."""

    left: Tensor
    """Left edge, float [B], of the image that is not flipped yet."""
    top: Tensor
    """Upper edge, float [B]."""
    width: Tensor
    """Float [B], in (0, 1]."""
    height: Tensor
    """Likewise."""
    flip: Tensor
    """Whether the crop is mirrored after it was cut out, bool [B]."""

    def of(self, rows: slice | Tensor) -> Crops:
        """The crops of some of the images."""
        return Crops(*(part[rows] for part in self))


def augment(images: Tensor, config: AugmentConfig, *, seed: int, step: int, ids: Tensor, views: Tensor) -> Tensor:
    """Draw one random view of every image.

    Args:
        images: uint8 [B, C, H, W].
        config: what may change.
        seed: the run's seed.
        step: the training step.
        ids: dataset indices, int64 [B].
        views: number of the view (0, 1, 2), int64 [B].

    Returns:
        float32 [B, C, S, S] in [0, 1], S = ``config.size``; without one, the images' height and width.
    """
    draws = _drawn(CROP_DRAWS + 10, seed, step, ids, views)
    crops, rest = _crops(draws, config), draws[CROP_DRAWS + 1 :]
    gains = _gains(images, config, seed=seed, step=step, ids=ids, views=views)
    if images.device.type != "cpu":
        return _augment(images, config, crops, rest, gains)
    out = torch.empty(*images.shape[:2], *view_size(images, config))
    for rows in _chunks(images, config, rest):
        some = None if gains is None else gains[rows]
        out[rows] = _augment(images[rows], config, crops.of(rows), rest[:, rows], some)
    return out


def draw_crops(config: AugmentConfig, *, seed: int, step: int, ids: Tensor, views: Tensor) -> Crops:
    """Return the crops that `augment` takes for the same arguments."""
    return _crops(_drawn(CROP_DRAWS + 1, seed, step, ids, views), config)


def _drawn(count: int, seed: int, step: int, ids: Tensor, views: Tensor) -> Tensor:
    """The first ``count`` uniform numbers of each view, float [count, B]."""
    return randomness.uniform(seed, "augmentation", (step, ids, views), count).T


def _crops(draws: Tensor, config: AugmentConfig) -> Crops:
    """The crops that the first of ``draws`` stand for."""
    return Crops(*crop_boxes(draws[:CROP_DRAWS], config), draws[CROP_DRAWS] < config.flip)


def _chunks(images: Tensor, config: AugmentConfig, draws: Tensor) -> Iterator[slice | Tensor]:
    """Part images [B, C, H, W] so that each part fits the cache.

    Colour images are sorted by what happens to them: few parts then mix images that an operation is for with others,
    and a part that it is not for is spared it.
    """
    if images.shape[1] == 3:
        key = (draws[0] < config.jitter).int() * 2 + (draws[5] < config.gray).int()
        yield from torch.argsort(key, stable=True).split(_IN_CACHE)
    else:
        yield from (slice(first, first + _IN_CACHE) for first in range(0, len(images), _IN_CACHE))


def _gains(images: Tensor, config: AugmentConfig, *, seed: int, step: int, ids: Tensor, views: Tensor) -> Tensor | None:
    """A factor for each channel of each image, float [B, C]; None where there are none."""
    if not config.gain or not config.jitter:
        return None
    draws = randomness.uniform(seed, "gain", (step, ids, views), images.shape[1])
    return 1.0 + config.gain * (2.0 * draws - 1.0)


def _augment(images: Tensor, config: AugmentConfig, crops: Crops, draws: Tensor, gains: Tensor | None = None) -> Tensor:
    """Augment uint8 [B, C, H, W] with ``crops``, ``gains`` and, for all else, the uniform numbers ``draws`` [9, B]."""
    pixels = images.float().div_(255.0)
    *boxes, flip = crops
    x = resized_crop(pixels, *boxes, flip=flip, size=view_size(images, config))
    if config.jitter and _some(chosen := draws[0] < config.jitter):
        colours.jitter_(x, config, draws[1:5], chosen=chosen)
        if gains is not None:
            colours.amplify_(x, torch.where(chosen[:, None], gains, 1.0))
    if config.gray and _some(gray := draws[5] < config.gray):
        colours.saturate_(x, (~gray).float())
    if config.blur and _some(chosen := draws[6] < config.blur):
        low, high = config.blur_sigma
        x = torch.where(colours.each(chosen), blur(x, low + (high - low) * draws[7]), x)
    if config.solarize and _some(chosen := draws[8] < config.solarize):
        x = torch.where(colours.each(chosen), torch.where(x >= 0.5, 1.0 - x, x), x)
    return x


def _some(chosen: Tensor) -> bool:
    """Whether an operation has to be done to some of the images.

    On a GPU it is done in any case, for to ask is to wait; and the tensors without values on which `clsp check` counts
    cannot be asked.
    """
    return isinstance(chosen, FakeTensor) or chosen.device.type != "cpu" or bool(chosen.any())


def view_size(images: Tensor, config: AugmentConfig) -> tuple[int, int]:
    """Return height and width of the views of ``images`` [B, C, H, W]."""
    return (config.size, config.size) if config.size else (images.shape[2], images.shape[3])


def crop_boxes(draws: Tensor, config: AugmentConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw crops as torchvision's RandomResizedCrop does: the first of ten draws that fits, else the whole image.

    Args:
        draws: uniform numbers, float [22, B].
        config: scale and ratio.

    Returns:
        left, top, width, height, each float [B], as fractions of a square image.
    """
    area, ratio, (across, down) = draws[:_TRIES], draws[_TRIES:-2], draws[-2:]
    area = config.crop_scale[0] + (config.crop_scale[1] - config.crop_scale[0]) * area
    low, high = math.log(config.crop_ratio[0]), math.log(config.crop_ratio[1])
    ratio = torch.exp(low + (high - low) * ratio)
    width, height = (area * ratio).sqrt(), (area / ratio).sqrt()
    fits = (width <= 1.0) & (height <= 1.0)
    first = fits.float().argmax(dim=0, keepdim=True)
    found = fits.any(dim=0)
    width = torch.where(found, width.gather(0, first)[0], 1.0)
    height = torch.where(found, height.gather(0, first)[0], 1.0)
    return across * (1.0 - width), down * (1.0 - height), width, height


def resized_crop(
    x: Tensor, left: Tensor, top: Tensor, width: Tensor, height: Tensor, *, flip: Tensor, size: tuple[int, int]
) -> Tensor:
    """Cut a box out of each image and resize it to ``size``, flipped where ``flip``: one bilinear sampling.

    Nothing smooths a box that is made smaller, which happens only where ``size`` is below the image's.

    Args:
        x: float [B, C, H, W].
        left: float [B], fractions of the width; likewise ``top``, ``width``, ``height``.
        top: see ``left``.
        width: see ``left``.
        height: see ``left``.
        flip: bool [B].
        size: height and width of the result.

    Returns:
        float [B, C, *size].
    """
    down, across = ((torch.arange(side, device=x.device, dtype=x.dtype) * 2.0 + 1.0) / side - 1.0 for side in size)
    grid = x.new_empty(len(x), *size, 2)
    signed = torch.where(flip, -width, width)
    grid[..., 0] = (signed[:, None] * across + (2.0 * left + width - 1.0)[:, None])[:, None, :]
    grid[..., 1] = (height[:, None] * down + (2.0 * top + height - 1.0)[:, None])[:, :, None]
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Blur each image by its own Gaussian of ``sigma`` [B] pixels; the kernel spans about a tenth of the image."""
    radius = max(1, round(x.shape[-1] / 20))
    places = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (places / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(x.shape[1], dim=0)
    flat = F.pad(x, (radius,) * 4, mode="reflect").flatten(0, 1)[None]
    groups = flat.shape[1]
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=groups)
    return F.conv2d(flat, kernel[:, None, :, None], groups=groups)[0].view_as(x)
