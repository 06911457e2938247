"""Which noise levels a step of the diffusion model's training sees, and how much the error of each counts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor

from clsp import randomness
from clsp.diffusion.config import DiffusionConfig


def noise_levels(config: DiffusionConfig, abar: Tensor, step: int, place: Tensor, *, seed: int) -> Tensor:
    """Draw the noise levels of a step's images.

    Args:
        config: number of levels and their distribution.
        abar: what each level leaves of a clean image's variance, float [timesteps], falling.
        step: the optimiser step.
        place: places of the images in the batch over all processes, int64 [B].
        seed: the run's seed.

    Returns:
        int64 [B] in [0, timesteps).
    """
    if not config.stratified_levels and config.log_sigma is None:
        return randomness.integers(seed, "diffusion time", (step, place), config.timesteps)[:, 0]
    if config.stratified_levels:
        start = randomness.uniform(seed, "diffusion time", (step,), 1)[0, 0].to(place.device)
        share = (place.double() / config.batch_size + start) % 1.0
    else:
        share = randomness.uniform(seed, "diffusion time", (step, place), 1)[:, 0].double()
    if config.log_sigma is None:
        return (share * config.timesteps).long()
    mean, deviation = config.log_sigma
    log_sigma = 0.5 * torch.log((1.0 - abar) / abar).double().to(place.device)
    below = torch.special.ndtr((log_sigma - mean) / deviation)  # the normal's share below each level
    return torch.searchsorted(below, below[0] + share * (below[-1] - below[0])).clamp(max=config.timesteps - 1)


def prediction_loss(
    predicted: Tensor, clean: Tensor, noise: Tensor, t: Tensor, noising: DDPMScheduler, min_snr_gamma: float | None
) -> Tensor:
    """Mean squared error of a prediction, each image weighted by its noise level where ``min_snr_gamma`` is given.

    min-SNR (Hang et al., arXiv 2303.09556, section 3.4): the error of the clean image counts min(SNR, gamma) times,
    SNR = abar / (1 - abar); that is min(SNR, gamma) / SNR for the error of the noise, and / (SNR + 1) for that of v.

    Args:
        predicted: the U-Net's output, float [B, C, H, W].
        clean: the images, float in [-1, 1], likewise.
        noise: what was mixed into them, likewise.
        t: noise levels, int64 [B].
        noising: says whether the noise or v was to be predicted.
        min_snr_gamma: gamma; None: every level counts the same.
    """
    velocity = noising.config.prediction_type == "v_prediction"
    target = noising.get_velocity(clean, noise, t) if velocity else noise
    if min_snr_gamma is None:
        return F.mse_loss(predicted.float(), target)
    abar = noising.alphas_cumprod.to(t.device)[t]
    snr = abar / (1.0 - abar)
    weight = snr.clamp(max=min_snr_gamma) / (snr + 1.0 if velocity else snr)
    return (weight * (predicted.float() - target).square().mean(dim=(1, 2, 3))).mean()
