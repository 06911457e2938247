"""A step of each stage, as a run takes it, on images without content."""

from __future__ import annotations

from typing import Any

import torch

from clsp.diffusion.condition import untold
from clsp.diffusion.interpolation import interpolated_noise
from clsp.positives.config import SynthesizeConfig
from clsp.preflight import measure
from clsp.preflight.measure import Step
from clsp.training.step import Pretraining


def denoise(unet: Any, bf16: bool) -> Step:
    """One step of the diffusion model's training."""

    def step(batch: int) -> None:
        side, device = unet.config.sample_size, unet.device
        x = torch.randn(batch, unet.config.in_channels, side, side, device=device)
        t = torch.zeros(batch, dtype=torch.int64, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = unet(x, t, return_dict=False, **untold(unet, batch))[0].float().square().mean()
        measure.backward(loss)

    return step


def draw(unet: Any, config: SynthesizeConfig, bf16: bool) -> Step:
    """One step of the sampler on so many candidates: of one anchor, or of several with all theirs."""

    def step(batch: int) -> None:
        side, device, each = unet.config.sample_size, unet.device, min(config.candidates, batch)
        x = torch.randn(batch - batch % each, unet.config.in_channels, side, side, device=device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            told = untold(unet, len(x[::each])).get("class_labels")
            interpolated_noise(unet, x, x[::each], 10, config.interpolation_weight, config.guidance_scale, told)
        measure.wait(device)

    return step


def contrast(training: Pretraining, device: torch.device, bf16: bool) -> Step:
    """One step of the pretraining, augmentation included."""
    training.to(device)
    training.ids = training.ids.to(device)
    training.labels = None if training.labels is None else training.labels.to(device)

    def step(batch: int) -> None:
        training.method.before_step(0.5)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = training.step(0, torch.arange(batch, device=device), 0.5).loss
        measure.backward(loss)
        training.method.after_step()

    return step
