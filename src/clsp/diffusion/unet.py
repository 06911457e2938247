"""The U-Net and the noise schedule, made from a config; images on its grid."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor

from clsp.diffusion.config import DiffusionConfig
from clsp.errors import UserError


def padded_size(size: int, multiple: int) -> int:
    """Return the smallest side >= ``size`` that is a multiple of ``multiple``."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class Grid:
    """How images become the U-Net's input and come back.

    They are brought to the U-Net's own size, padded to what it can halve, and patches are folded into channels.
    """

    levels: int
    """Levels of the U-Net; each but the last halves its input."""
    patch: int = 1
    """Side of the squares of pixels that the U-Net sees as channels of one place."""
    side: int | None = None
    """Height and width in pixels that the U-Net was made for; None: any."""

    @classmethod
    def of(cls, unet: UNet2DModel, channels: int) -> Grid:
        """Return the grid of a U-Net for images of ``channels``: p * p times as many inputs mean patches of p.

        Raises:
            UserError: the U-Net is not for images of so many channels, or not for square ones.
        """
        inputs = int(unet.config.in_channels)
        patch = math.isqrt(inputs // channels)
        if patch * patch * channels != inputs:
            raise UserError(f"the U-Net draws {inputs}-channel images, not {channels}-channel ones")
        places = unet.config.sample_size
        if isinstance(places, list | tuple):
            if len(set(places)) != 1:
                raise UserError(f"the U-Net draws images of {'x'.join(map(str, places))}, and clsp's are square")
            places = places[0]
        return cls(len(unet.config.block_out_channels), patch, places * patch if isinstance(places, int) else None)

    @property
    def multiple(self) -> int:
        """What a padded image's side is a multiple of."""
        return int(self.patch * 2 ** (self.levels - 1))

    def enter(self, images: Tensor) -> Tensor:
        """Float [B, C, H, W] in [-1, 1] to the U-Net's input [B, C p p, H' / p, W' / p].

        Images that padding alone does not bring to the U-Net's side are resized, the longer side to it (bicubic,
        antialiased); nothing is squeezed. Padding repeats the border on all sides.
        """
        height, width = images.shape[-2:]
        if (inner := self._inner(height, width)) != (height, width):
            images = _resize(images, inner)
        more_h, more_w = (padded_size(side, self.multiple) - side for side in inner)
        if more_h or more_w:
            sides = (more_w // 2, more_w - more_w // 2, more_h // 2, more_h - more_h // 2)
            images = F.pad(images, sides, mode="replicate")
        return F.pixel_unshuffle(images, self.patch) if self.patch > 1 else images

    def leave(self, drawn: Tensor, size: tuple[int, int]) -> Tensor:
        """Undo `enter`: [B, C p p, H' / p, W' / p] to images [B, C, H, W] of ``size`` (height, width)."""
        images = F.pixel_shuffle(drawn, self.patch) if self.patch > 1 else drawn
        height, width = self._inner(*size)
        top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
        images = images[..., top : top + height, left : left + width]
        return images if (height, width) == tuple(size) else _resize(images, size)

    def inside(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Maps over what `enter` made of images of ``size``, [B, D, h, w], to maps over the images themselves.

        Padding is left out by sampling (bilinear) at as many places; without padding they stay as they are.
        """
        inner = self._inner(*size)
        whole = tuple(padded_size(side, self.multiple) for side in inner)
        if whole == inner:
            return maps
        (height, width), (tall, wide) = inner, whole
        top, left = (tall - height) // 2, (wide - width) // 2
        moved = [
            [width / wide, 0.0, (2 * left + width) / wide - 1],
            [0.0, height / tall, (2 * top + height) / tall - 1],
        ]
        theta = torch.tensor(moved, dtype=maps.dtype, device=maps.device).expand(len(maps), 2, 3)
        places = F.affine_grid(theta, list(maps.shape), align_corners=False)
        return F.grid_sample(maps, places, padding_mode="border", align_corners=False)

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        """The size that images of ``height`` and ``width`` have before they are padded."""
        longer = max(height, width)
        if self.side is None or padded_size(longer, self.multiple) == self.side:
            return height, width
        return max(round(height * self.side / longer), 1), max(round(width * self.side / longer), 1)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic, antialiased, and no darker or brighter than an image's own pixels: overshoot at edges is no content."""
    low, high = images.amin(dim=(-2, -1), keepdim=True), images.amax(dim=(-2, -1), keepdim=True)
    return F.interpolate(images, size, mode="bicubic", antialias=True).clamp(low, high)


def build_unet(config: DiffusionConfig, *, channels: int, size: int) -> UNet2DModel:
    """Make an untrained U-Net for images of ``channels`` and ``size`` (resized, padded and folded where it must be).

    Raises:
        UserError: widths, groups, attention levels and size do not fit together.
    """
    levels = len(config.widths)
    multiple = Grid(levels, config.patch).multiple
    side = min(config.size or size, size)
    if config.size and config.size % multiple:
        raise UserError(
            f"--diffusion.size {config.size} cannot be halved by the {levels} widths; "
            f"choose {padded_size(config.size, multiple)}, or another multiple of {multiple}"
        )
    uneven = [width for width in config.widths if width % config.norm_groups]
    if uneven:
        raise UserError(
            f"diffusion.norm_groups {config.norm_groups} does not divide width {uneven[0]}; choose a divisor"
        )
    wrong = [level for level in config.attention if not 0 <= level < levels]
    if wrong:
        raise UserError(
            f"diffusion.attention {wrong[0]} is no level; the {levels} widths have levels 0 to {levels - 1}"
        )
    attends = [level in config.attention for level in range(levels)]
    return UNet2DModel(
        sample_size=padded_size(side, multiple) // config.patch,
        in_channels=channels * config.patch**2,
        out_channels=channels * config.patch**2,
        layers_per_block=config.blocks,
        block_out_channels=tuple(config.widths),
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        attention_head_dim=config.head_width,
        norm_num_groups=config.norm_groups,
        dropout=config.dropout,
        class_embed_type="identity" if config.condition else None,
    )


def build_scheduler(config: DiffusionConfig) -> DDPMScheduler:
    """Make the forward process: T linear betas, and what the U-Net is to predict."""
    return DDPMScheduler(
        num_train_timesteps=config.timesteps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule="linear",
        prediction_type=config.prediction_type,
    )


def unet_hash(unet: UNet2DModel) -> str:
    """Return a sha256 (16 hex digits) over the names and values of all weights and the configuration."""
    config = {name: value for name, value in unet.config.items() if not name.startswith("_")}  # without its folder
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(unet.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
