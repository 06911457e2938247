"""Random views of a batch of images, drawn for each image by itself, on the device where the images are.

torchvision's transforms draw once for a whole batch; these draw for every sample, from `clsp.randomness`, so that a
view is a pure function of (seed, step, image, view number), whatever the batch or the number of processes. Each
operation equals torchvision's on single images. One difference: the colour operations keep the order brightness,
contrast, saturation, hue, where torchvision shuffles it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import randomness
from clsp.images.config import AugmentConfig

_TRIES = 10
"""Crops that torchvision's RandomResizedCrop draws before it gives up and takes the whole image."""

_CROP_DRAWS = 2 * _TRIES + 2
"""Uniform numbers that a crop takes: area and ratio of each try, and the place."""


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
        float32 [B, C, H, W] in [0, 1].
    """
    draws = randomness.uniform(seed, "augmentation", (step, ids, views), _CROP_DRAWS + 10).T
    x = images.float().div_(255.0)
    left, top, width, height = crop_boxes(draws[:_CROP_DRAWS], config)
    rest = draws[_CROP_DRAWS:]
    x = resized_crop(x, left, top, width, height, flip=rest[0] < config.flip)
    x = torch.where(_each(rest[1] < config.jitter), _jitter(x, config, rest[2:6]), x)
    if config.gray and x.shape[1] == 3:
        x = torch.where(_each(rest[6] < config.gray), to_gray(x), x)
    if config.blur:
        low, high = config.blur_sigma
        x = torch.where(_each(rest[7] < config.blur), blur(x, low + (high - low) * rest[8]), x)
    if config.solarize:
        x = torch.where(_each(rest[9] < config.solarize), torch.where(x >= 0.5, 1.0 - x, x), x)
    return x


def crop_boxes(draws: Tensor, config: AugmentConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw crops as torchvision's RandomResizedCrop does: the first of ten draws that fits, else the whole image.

    Args:
        draws: uniform numbers, float [22, B].
        config: scale and ratio.

    Returns:
        left, top, width, height, each float [B], as shares of a square image.
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


def resized_crop(x: Tensor, left: Tensor, top: Tensor, width: Tensor, height: Tensor, *, flip: Tensor) -> Tensor:
    """Cut a box out of each image and resize it to the image's size, flipped where ``flip``: one bilinear sampling.

    Args:
        x: float [B, C, H, W].
        left: float [B], shares of the width; likewise ``top``, ``width``, ``height``.
        top: see ``left``.
        width: see ``left``.
        height: see ``left``.
        flip: bool [B].

    Returns:
        float [B, C, H, W].
    """
    theta = x.new_zeros(len(x), 2, 3)
    theta[:, 0, 0] = torch.where(flip, -width, width)
    theta[:, 0, 2] = 2.0 * left + width - 1.0
    theta[:, 1, 1] = height
    theta[:, 1, 2] = 2.0 * top + height - 1.0
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _each(values: Tensor) -> Tensor:
    """[B] to [B, 1, 1, 1]."""
    return values[:, None, None, None]


def _jitter(x: Tensor, config: AugmentConfig, draws: Tensor) -> Tensor:
    """Brightness, contrast, saturation, hue with factors from ``draws`` [4, B]."""

    def factor(strength: float, draw: Tensor) -> Tensor:
        return _each(max(0.0, 1.0 - strength) + (1.0 + strength - max(0.0, 1.0 - strength)) * draw)

    x = (x * factor(config.brightness, draws[0])).clamp(0.0, 1.0)
    mean = to_gray(x).mean(dim=(1, 2, 3), keepdim=True)
    x = torch.lerp(mean.expand_as(x), x, factor(config.contrast, draws[1])).clamp(0.0, 1.0)
    if x.shape[1] == 1:
        return x
    x = torch.lerp(to_gray(x), x, factor(config.saturation, draws[2])).clamp(0.0, 1.0)
    return shift_hue(x, config.hue * (2.0 * draws[3] - 1.0)) if config.hue else x


def to_gray(x: Tensor) -> Tensor:
    """ITU-R 601 luma in all channels, float [B, C, H, W]; gray images are returned as they are."""
    if x.shape[1] == 1:
        return x
    weights = x.new_tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
    return (x * weights).sum(dim=1, keepdim=True).expand_as(x)


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of RGB images [B, 3, H, W] in [0, 1] by ``shift`` [B] of the colour circle (through HSV)."""
    value, where = x.max(dim=1)
    chroma = value - x.min(dim=1).values
    safe = torch.where(chroma > 0, chroma, 1.0)
    r, g, b = x.unbind(dim=1)
    sextant = torch.stack(((g - b) / safe, (b - r) / safe + 2.0, (r - g) / safe + 4.0), dim=1)
    hue = sextant.gather(1, where[:, None])[:, 0] / 6.0 + shift[:, None, None]
    # Channel n of HSV -> RGB: v - c * max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6, n = 5, 3, 1.
    k = (hue[:, None] * 6.0 + x.new_tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1)) % 6.0
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0)


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
