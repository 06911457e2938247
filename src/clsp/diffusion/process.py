"""The forward process that a model was trained for, read from a scheduler's configuration: how images became noise.

Samplers know fewer schedules of betas than diffusers trains with, and each has options of its own that another one
misreads. So a sampler gets the process alone: the betas, and what the U-Net predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from clsp.diffusion.config import PredictionName
from clsp.errors import UserError

PREDICTIONS = (*get_args(PredictionName), "sample")
"""diffusers' words for what a U-Net may predict: the noise, v, or the clean image."""

SHARED = ("linear", "scaled_linear", "squaredcos_cap_v2")
"""Schedules of betas that every sampler makes by itself; all others are given to it as numbers."""

SCHEDULES = (*SHARED, "sigmoid")
"""diffusers' names of the schedules that are drawn from; betas of one's own (``trained_betas``) are as well."""

VARIANCE_PRESERVING = (
    "DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler",
    "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler", "DPMSolverMultistepInverseScheduler", "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler", "UniPCMultistepScheduler", "SASolverScheduler",
)  # fmt: skip
"""Schedulers over T betas: x_t = sqrt(abar_t) x + sqrt(1 - abar_t) noise, and the U-Net is told t."""

_OTHERS = {
    "ScoreSdeVe": "variance exploding: noise is added to images that keep their scale",
    "KarrasVe": "variance exploding: noise is added to images that keep their scale",
    "ScoreSdeVp": "continuous in time, without betas",
    "EDM": "preconditioned (EDM): its input and output are scaled by sigma",
    "DPMSolverSDE": "one that draws its noise for a whole batch: a candidate would depend on what is drawn beside it",
    "CosineDPM": "preconditioned (EDM): its input and output are scaled by sigma",
    "FlowMatch": "flow matching: the U-Net predicts a velocity between image and noise",
    "CMStochastic": "a consistency model: it is no noise predictor",
    "LCM": "distilled into a few steps of its own",
    "TCD": "distilled into a few steps of its own",
    "VQDiffusion": "discrete: it denoises tokens, not pixels",
    "Amused": "discrete: it denoises tokens, not pixels",
}
"""What other schedulers are, by the beginning of their name."""

NO_SIGNAL = 1e-12
"""abar below which a noise level counts as pure noise: zero terminal SNR."""

_LARGEST_BETA = 0.999
"""The cap of diffusers' own cosine schedule: with it the last level of a zero-SNR schedule is a number to divide by."""


def forward_process(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a scheduler's configuration is the forward process.

    Args:
        settings: the configuration, as a diffusers folder holds it (``_class_name`` may be missing).

    Returns:
        ``num_train_timesteps``, ``beta_start``, ``beta_end``, ``beta_schedule``, ``trained_betas`` (None where the
        samplers make them by themselves) and ``prediction_type``.

    Raises:
        UserError: it is another kind of process, or one whose levels cannot be drawn from; names it.
    """
    require_variance_preserving(settings)
    prediction = str(settings.get("prediction_type", "epsilon"))
    if prediction not in PREDICTIONS:
        raise UserError(f"prediction_type '{prediction}' is not drawn from; {', '.join(PREDICTIONS)} are")
    betas = _betas(settings)
    abar = torch.cumprod(1.0 - betas, dim=0)
    if prediction == "epsilon" and float(abar[-1]) < NO_SIGNAL:
        raise UserError(
            "a schedule with zero terminal SNR needs a model that predicts v or the clean image: of pure noise the "
            "noise says nothing about the image (prediction_type epsilon)"
        )
    schedule, rescaled = settings.get("beta_schedule", "linear"), bool(settings.get("rescale_betas_zero_snr"))
    shared = settings.get("trained_betas") is None and schedule in SHARED and not rescaled
    return {
        "num_train_timesteps": len(betas),
        "beta_start": float(settings.get("beta_start", 1e-4)),
        "beta_end": float(settings.get("beta_end", 0.02)),
        "beta_schedule": schedule if shared else "linear",
        "trained_betas": None if shared else betas.clamp(max=_LARGEST_BETA).tolist(),
        "prediction_type": prediction,
    }


def require_variance_preserving(settings: Mapping[str, Any]) -> None:
    """Refuse the configuration of a scheduler of another kind.

    Raises:
        UserError: names the scheduler and what it is.
    """
    name = str(settings.get("_class_name", "DDPMScheduler"))
    if name not in VARIANCE_PRESERVING:
        what = next((what for start, what in _OTHERS.items() if name.startswith(start)), "none over betas")
        raise UserError(
            f"the scheduler {name} is {what}; feature interpolation draws from models over betas, such as "
            "DDPMScheduler's"
        )
    odd = [key for key in ("use_flow_sigmas", "sigma_min", "sigma_max") if settings.get(key)]
    odd += ["timestep_type continuous"] if settings.get("timestep_type") == "continuous" else []
    if odd:
        raise UserError(f"the scheduler {name} with {odd[0]} is none over betas; choose a model over betas")


def _betas(settings: Mapping[str, Any]) -> Tensor:
    """The betas as training had them, float32 [T].

    Raises:
        UserError: the schedule is unknown, or its numbers are no betas.
    """
    schedule = settings.get("beta_schedule") or "linear"
    if settings.get("trained_betas") is None and schedule not in SCHEDULES:
        raise UserError(f"beta_schedule '{schedule}' is not drawn from; {', '.join(SCHEDULES)} are")
    names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
    given = {name: settings[name] for name in (*names, "rescale_betas_zero_snr") if settings.get(name) is not None}
    try:
        betas = DDPMScheduler(**given).betas.float()
    except (TypeError, ValueError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        reason = str(error).strip().partition("\n")[0][:120]
        raise UserError(f"the scheduler's betas cannot be made ({reason}); mend its scheduler_config.json") from error
    fine = betas.ndim == 1 and len(betas) > 0 and bool(((betas > 0) & (betas <= 1)).all())
    if not fine:
        raise UserError("the scheduler's betas are not all between 0 and 1; mend its scheduler_config.json")
    return betas


def abar_at(scheduler: Any, timestep: Tensor | float) -> float:
    """Return abar, the share of the image's variance that is left, at a time step of a scheduler over betas."""
    last = len(scheduler.alphas_cumprod) - 1
    return float(scheduler.alphas_cumprod[min(round(float(timestep)), last)])
