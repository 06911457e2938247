"""Changes of colour of a batch, each image by its own amount; they write into the batch, for memory is what they cost.

Each operation equals torchvision's on single images.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsp.images.config import AugmentConfig

_LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R 601, as torchvision rounds them)."""


def jitter_(x: Tensor, config: AugmentConfig, draws: Tensor, *, chosen: Tensor) -> None:
    """Change brightness, contrast, saturation and hue, in this order, of the ``chosen`` images.

    Args:
        x: float [B, C, H, W] in [0, 1]. Saturation and hue change RGB alone; of other numbers of channels than 1 and 3
            the contrast of each channel is changed around its own mean.
        config: the strengths.
        draws: uniform numbers float [4, B], one for each operation.
        chosen: bool [B].
    """

    def factor(strength: float, draw: Tensor) -> Tensor:
        low = max(0.0, 1.0 - strength)
        return torch.where(chosen, low + (1.0 + strength - low) * draw, 1.0)

    if config.brightness:
        x.mul_(each(factor(config.brightness, draws[0]))).clamp_(max=1.0)
    if config.contrast:
        _blend_(x, factor(config.contrast, draws[1]), luma(x.mean(dim=(2, 3), keepdim=True)))
    if x.shape[1] == 3 and config.saturation:
        saturate_(x, factor(config.saturation, draws[2]))
    if x.shape[1] == 3 and config.hue:
        turn_hue_(x, torch.where(chosen, config.hue * (2.0 * draws[3] - 1.0), 0.0))


def amplify_(x: Tensor, gains: Tensor) -> None:
    """Multiply each channel of images [B, C, H, W] by its own factor, ``gains`` [B, C], clamped to [0, 1]."""
    x.mul_(gains[:, :, None, None]).clamp_(max=1.0)


def saturate_(x: Tensor, factor: Tensor) -> None:
    """Blend images [B, C, H, W] with their gray versions: ``factor`` [B]: 0 is gray, 1 leaves it, more adds colour."""
    if x.shape[1] == 3:
        _blend_(x, factor, luma(x))


def luma(x: Tensor) -> Tensor:
    """Brightness of colour images, float [B, 3, H, W] to [B, 1, H, W]; all others are returned as they are."""
    if x.shape[1] != 3:
        return x
    red, green, blue = x.split(1, dim=1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def turn_hue_(x: Tensor, shift: Tensor) -> None:
    """Turn the hue of RGB images [B, 3, H, W] in [0, 1] by ``shift`` [B] of the colour circle, through HSV."""
    red, green, blue = x.unbind(dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    inverse = chroma.clamp_min(1e-12).reciprocal_()  # where there is no chroma, the differences are 0 as well
    # The sign is 0 for the largest channel and 1 for others; choosing by lerp is much faster on CPUs than torch.where.
    hue = (red - green).mul_(inverse).add_(4.0)
    hue = torch.lerp((blue - red).mul_(inverse).add_(2.0), hue, (value - green).sign_())
    hue = torch.lerp((green - blue).mul_(inverse), hue, (value - red).sign_())
    hue.add_(6.0 * shift[:, None, None])
    # Channel n of HSV -> RGB: v - c * clamp(min(k, 4 - k), 0, 1), k = (n + 6 h) mod 6, n = 5, 3, 1.
    for channel, offset in zip((red, green, blue), (5.0, 3.0, 1.0)):
        k = hue + offset
        k.sub_((k * (1.0 / 6.0)).floor_(), alpha=6.0)
        blend = k.sub_(2.0).abs_().neg_().add_(2.0).clamp_(0.0, 1.0)
        torch.addcmul(value, chroma, blend, value=-1.0, out=channel)


def _blend_(x: Tensor, factor: Tensor, other: Tensor) -> None:
    """Set x to factor * x + (1 - factor) * other, clamped to [0, 1]; ``factor`` [B]."""
    weight = each(factor)
    x.mul_(weight).add_(other * (1.0 - weight)).clamp_(0.0, 1.0)


def each(values: Tensor) -> Tensor:
    """[B] to [B, 1, 1, 1]."""
    return values[:, None, None, None]
