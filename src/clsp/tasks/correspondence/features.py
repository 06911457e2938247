"""Feature maps: of an encoder's stages, and of a diffusion model's decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from clsp import randomness
from clsp.diffusion.condition import untold
from clsp.diffusion.unet import Grid
from clsp.errors import UserError

Mapped = Callable[[Tensor], Tensor]
"""Maps images float [B, C, H, W] in [0, 1] to features [B, D, h, w]."""


def maps_and_features(encoder: nn.Module, images: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    """Encode normalised images once: the feature map of a stage [B, D, h, w], and the features [B, F].

    Args:
        encoder: of timm.
        images: float [B, C, H, W].
        layer: the stage, from the end: -1 is the last.

    Raises:
        UserError: the encoder has no such stage, or gives none.
    """
    made: Any = encoder
    stages = stages_of(encoder)
    if not hasattr(made, "forward_intermediates") or -layer > stages:
        raise UserError(f"--dense.layer {layer}: this backbone has {stages} stages with a feature map")
    last, (found,) = made.forward_intermediates(images, indices=[stages + layer], norm=False, stop_early=False)
    features: Tensor = made.forward_head(last, pre_logits=True)
    return found, features


def stages_of(encoder: nn.Module) -> int:
    """How many stages give a feature map."""
    known: Any = getattr(encoder, "feature_info", None)
    return len(known) if known is not None else 0


def of_encoder(encoder: nn.Module, mean: Tensor, std: Tensor, layer: int) -> Mapped:
    """What maps images by a stage of an encoder, in eval mode and without gradient."""

    @torch.no_grad()
    def mapped(images: Tensor) -> Tensor:
        encoder.eval()
        normalised = (images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
        return maps_and_features(encoder, normalised, layer)[0].float()

    return mapped


def of_diffusion(unet: UNet2DModel, scheduler: Any, *, time: int, block: int, channels: int, seed: int) -> Mapped:
    """What maps images by a block of a diffusion model's decoder, at a noise level (DIFT, arXiv 2306.03881).

    Args:
        unet: the model.
        scheduler: its forward process.
        time: the noise level.
        block: of the decoder, from the coarsest.
        channels: of the images.
        seed: names the noise; all images get the same.

    Raises:
        UserError: there is no such level or block.
    """
    if block >= len(unet.up_blocks) or time >= scheduler.config.num_train_timesteps:
        there = f"{len(unet.up_blocks)} blocks, and {scheduler.config.num_train_timesteps} noise levels"
        raise UserError(f"--dense.measure.block {block}, --dense.measure.time {time}: this model's decoder has {there}")
    grid, seen = Grid.of(unet, channels), list[Tensor]()

    @torch.no_grad()
    def mapped(images: Tensor) -> Tensor:
        clean = grid.enter(2.0 * images - 1.0)
        zeros = torch.zeros(len(clean), dtype=torch.int64)
        noise = randomness.normal(seed, "dense noise", (zeros,), clean.shape[1:])
        level = torch.full((len(clean),), time)
        handle = unet.up_blocks[block].register_forward_hook(lambda module, given, out: seen.append(out))
        try:
            unet.eval()(scheduler.add_noise(clean, noise, level), level, **untold(unet, len(clean)))
        finally:
            handle.remove()
        return grid.inside(seen.pop().float(), (images.shape[-2], images.shape[-1]))

    return mapped
