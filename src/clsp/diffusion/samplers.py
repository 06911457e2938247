"""Which diffusers scheduler takes the denoising steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)

from clsp.diffusion.config import SamplerName
from clsp.diffusion.process import forward_process
from clsp.errors import UserError, suggest

FAINT = 1e-6
"""abar of the last noise level below which DDIM computes its variances in 64 bit."""


def make_sampler(name: str, settings: dict[str, Any], *, clip_sample: bool) -> Any:
    """Return the scheduler called ``name`` over the betas of ``settings``.

    Args:
        name: one of `SamplerName`.
        settings: a scheduler's configuration, as a diffusers folder holds it; see `forward_process`.
        clip_sample: clamp the predicted clean image to [-1, 1] at every step.

    Raises:
        UserError: the name is unknown, or the configuration is that of another kind of model.
    """
    if name not in _MAKERS:
        names = get_args(SamplerName)
        raise UserError(f"sampler '{name}' is not one of {', '.join(names)}{suggest(name, names)}")
    return _MAKERS[name](forward_process(settings), clip_sample)


def _ddim(settings: dict[str, Any], clip: bool) -> DDIMScheduler:
    """Return the reference's DDIM: it ends at t = 0 with abar = 1 and starts at t = T - 1."""
    ddim = DDIMScheduler.from_config(
        settings, clip_sample=clip, set_alpha_to_one=True, timestep_spacing="trailing", steps_offset=0
    )
    if float(ddim.alphas_cumprod[-1]) < FAINT:
        # With eta 1 the direction's variance is (1 - abar') * abar / abar' or so: in 32 bit it rounds below 0.
        ddim.alphas_cumprod = ddim.alphas_cumprod.double()
    return ddim


def _dpm(settings: dict[str, Any], clip: bool, *, algorithm: str) -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler.from_config(
        settings, algorithm_type=algorithm, solver_order=2, timestep_spacing="trailing", **_clamp(clip)
    )


def _unipc(settings: dict[str, Any], clip: bool) -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler.from_config(settings, solver_order=2, timestep_spacing="trailing", **_clamp(clip))


def _deis(settings: dict[str, Any], clip: bool) -> DEISMultistepScheduler:
    return DEISMultistepScheduler.from_config(settings, solver_order=2, timestep_spacing="trailing", **_clamp(clip))


def _clamp(clip: bool) -> dict[str, Any]:
    """Dynamic thresholding whose largest value is 1 is a clamp to [-1, 1]."""
    return {"thresholding": clip, "sample_max_value": 1.0}


_MAKERS: dict[str, Callable[[dict[str, Any], bool], Any]] = {
    "ddim": _ddim,
    "dpmsolver++": lambda settings, clip: _dpm(settings, clip, algorithm="dpmsolver++"),
    "sde-dpmsolver++": lambda settings, clip: _dpm(settings, clip, algorithm="sde-dpmsolver++"),
    "unipc": _unipc,
    "deis": _deis,
}
