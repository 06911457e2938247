"""Which noise levels a step of the diffusion model's training sees, and how much the error of each counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor

from clsp import files, randomness
from clsp.diffusion.config import DiffusionConfig
from clsp.engine.record import read_record

_ABOUT = "clsp.json"
"""Of a diffusion model that others get: what diffusers' files do not say."""


def noise_levels(config: DiffusionConfig, step: int, place: Tensor, *, seed: int) -> Tensor:
    """Draw the noise levels of a step's images.

    Args:
        config: number of levels, and whether the batch is spread over them.
        step: the optimiser step.
        place: places of the images in the batch over all processes, int64 [B].
        seed: the run's seed.

    Returns:
        int64 [B] in [0, timesteps * max_strength), each uniform.
    """
    levels = max(round(config.timesteps * config.max_strength), 1)
    if not config.stratified_levels:
        return randomness.integers(seed, "diffusion time", (step, place), levels)[:, 0]
    start = randomness.uniform(seed, "diffusion time", (place.new_full((1,), step),), 1)[0, 0]
    return ((place.double() / config.batch_size + start) % 1.0 * levels).long()


def trained_strength(folder: Path) -> float:
    """Return the fraction of its noise levels that the model in ``folder`` was trained for; 1 if unknown.

    A model that left its run's folder says it in a file of its own, see `write_strength`.

    Raises:
        UserError: what says it is damaged.
    """
    path, record = folder / _ABOUT, read_record(folder)
    if record is not None and "max_strength" in record.settings:
        path, known = record.path, record.settings["max_strength"]
    else:
        known = files.read_json(path, dict[str, Any]).get("max_strength") if path.is_file() else None
    if known is None:
        return 1.0
    with files.foreign(path):
        strength = float(known)
        if not 0.0 < strength <= 1.0:
            raise ValueError(f"its max_strength is {strength}")
        return strength


def write_strength(folder: Path, strength: float) -> list[str]:
    """Write beside a model what `trained_strength` reads; return the names of the files, none where it learnt all."""
    if strength == 1.0:
        (folder / _ABOUT).unlink(missing_ok=True)
        return []
    files.write_json(folder / _ABOUT, {"max_strength": strength})
    return [_ABOUT]


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
