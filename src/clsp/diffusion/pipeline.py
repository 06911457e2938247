"""`SyntheticPositivePipeline`: the sampler as a diffusers pipeline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, PNDMScheduler, UNet2DModel
from diffusers.utils import BaseOutput
from torch import Tensor

from clsp import files
from clsp.diffusion import folder
from clsp.diffusion.condition import Condition, load_condition
from clsp.diffusion.config import AnchorNoise
from clsp.diffusion.interpolation import Callback, Sampling, require_plain, sample, steps_taken, timesteps_of
from clsp.diffusion.levels import trained_strength, write_strength
from clsp.diffusion.process import NO_SIGNAL, abar_at, require_variance_preserving
from clsp.diffusion.samplers import FAINT, make_sampler
from clsp.diffusion.unet import Grid
from clsp.errors import UserError


@dataclass
class SyntheticPositiveOutput(BaseOutput):
    """What the pipeline returns."""

    images: Tensor
    """uint8 [B, candidates, C, H, W]; row b holds the candidates of anchor b."""
    saturated: Tensor
    """float32 [B, candidates]: the fraction of values that were cut off at the ends of [-1, 1]."""


class SyntheticPositivePipeline(DiffusionPipeline):
    """Draws synthetic positives: images with an anchor's content and another background.

    Any unconditional `UNet2DModel` (whatever it predicts) and any diffusers scheduler over the same betas serve, and
    the models that clsp trained with a condition. The paper's sampler is ``DDIMScheduler(clip_sample=False,
    set_alpha_to_one=True, timestep_spacing="trailing")`` with 100 steps and eta 0.1; that is what `from_pretrained`
    sets up.
    """

    model_cpu_offload_seq = "unet"

    def __init__(self, unet: UNet2DModel, scheduler: Any, condition: Condition | None = None) -> None:
        super().__init__()
        require_plain(unet, conditional=condition is not None)
        require_variance_preserving({**scheduler.config, "_class_name": type(scheduler).__name__})
        self.register_modules(unet=unet, scheduler=scheduler)
        self.max_strength = 1.0
        """The largest strength that the U-Net was trained for."""
        self.condition = condition
        """What the U-Net is told of an anchor; None: nothing."""

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, sampler: str = "ddim", clip_sample: bool = False
    ) -> SyntheticPositivePipeline:
        """Load a diffusers folder or a hub id and give it the paper's sampler, or another.

        Only a `UNet2DModel` in safetensors and a scheduler's JSON are read; no code from the folder runs.

        Args:
            source: see `clsp.diffusion.folder.load_diffusion`.
            sampler: ``ddim`` (the paper's), ``dpmsolver++``, ``sde-dpmsolver++``, ``unipc`` or ``deis``.
            clip_sample: clamp the predicted clean image to [-1, 1] at every step (small models need it; the
                reference does not).

        Raises:
            UserError: nothing usable is there, or the sampler is unknown.
        """
        unet, settings = folder.load_diffusion(source)
        condition = load_condition(source, unet)
        with files.foreign(f"--diffusion {source}", folder.FIX, what="has a scheduler that cannot be made"):
            pipeline = cls(unet, make_sampler(sampler, settings, clip_sample=clip_sample), condition)
        pipeline.max_strength = trained_strength(folder.located(str(source)))
        return pipeline

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write the pipeline as diffusers does, and what it is told by."""
        super().save_pretrained(save_directory, *args, **kwargs)
        write_strength(Path(save_directory), self.max_strength)
        if self.condition is not None:
            self.condition.save(Path(save_directory))

    @torch.no_grad()
    def __call__(
        self,
        anchors: Tensor,
        candidates: int = 8,
        interpolation_weight: float = 0.1,
        num_inference_steps: int = 100,
        eta: float = 0.1,
        seed: int = 0,
        anchor_ids: Tensor | np.ndarray | list[int] | None = None,
        anchor_noise: str = "fresh",
        strength: float = 1.0,
        guidance_scale: float = 1.0,
        starts: Tensor | None = None,
        callback: Callback | None = None,
    ) -> SyntheticPositiveOutput:
        """Draw ``candidates`` synthetic positives for each anchor.

        Args:
            anchors: float [B, C, H, W] in [-1, 1]; of any size: they are resized to the U-Net's own (or padded, where
                that is all it takes), and what is drawn is brought back.
            candidates: k >= 1.
            interpolation_weight: w in [0, 1]; 1 is a plain sample, 0.1 is nine tenths anchor.
            num_inference_steps: denoising steps.
            eta: DDIM's noise, from 0 (deterministic) to 1 (ancestral).
            seed: any integer.
            anchor_ids: dataset indices [B] of the anchors, 0 or more, which name their noise; default 0 .. B - 1.
            anchor_noise: ``fresh`` at every step and shared by an anchor's candidates; ``each``: as fresh, and each
                candidate has its own, as the reference has it, for half a pass more a candidate and step; ``fixed``:
                one noise per anchor.
            strength: fraction of the noise levels that a sample passes; below 1 it starts from a noised image.
            guidance_scale: s >= 1; above 1 the anchor's features are followed further, for half a pass more a step.
            starts: the images to start from with a strength below 1, float [B, k, C, H, W] like the anchors; None: the
                anchors themselves. With another image a candidate takes its content from the anchor and its background
                from there.
            callback: called after every step with (step, samples).

        Returns:
            `SyntheticPositiveOutput`, images uint8 [B, k, C, H, W].

        Raises:
            UserError: an argument is out of range, or the model made values that are not finite.
        """
        settings = Sampling(
            candidates=candidates,
            interpolation_weight=interpolation_weight,
            steps=num_inference_steps,
            eta=eta,
            anchor_noise=anchor_noise,  # type: ignore[arg-type]
            strength=strength,
            guidance_scale=guidance_scale,
        )
        return self.draw(anchors, settings, seed=seed, anchor_ids=anchor_ids, starts=starts, callback=callback)

    def draw(
        self,
        anchors: Tensor,
        settings: Sampling,
        *,
        seed: int = 0,
        anchor_ids: Tensor | np.ndarray | list[int] | None = None,
        starts: Tensor | None = None,
        callback: Callback | None = None,
        told: bool = True,
    ) -> SyntheticPositiveOutput:
        """Do what ``__call__`` does, with the sampler's settings in one value.

        ``told``: whether a conditional model is told of the anchors.
        """
        check_sampling(settings, self.scheduler, self.max_strength)
        if starts is not None and settings.strength == 1.0:
            raise UserError("starts are nothing that strength 1 begins with: it draws from pure noise; choose less")
        if anchors.ndim != 4:
            raise UserError(f"anchors must be [B, C, H, W], got {list(anchors.shape)}")
        if starts is not None and starts.shape != (wanted := (len(anchors), settings.candidates, *anchors.shape[1:])):
            raise UserError(f"starts must be {list(wanted)}, got {list(starts.shape)}")
        grid = Grid.of(self.unet, anchors.shape[1])
        self.unet.eval()
        ids = torch.arange(len(anchors)) if anchor_ids is None else torch.as_tensor(anchor_ids, dtype=torch.int64)
        _require_ids(ids, len(anchors))
        anchors = anchors.to(self.unet.device, torch.float32)
        entered, ids = grid.enter(anchors), ids.to(anchors.device)
        begin = None if starts is None else grid.enter(starts.flatten(0, 1).to(anchors))
        known = self.condition.to(anchors.device)(anchors) if self.condition is not None and told else None
        more: dict[str, Any] = {"starts": begin, "told": known, "callback": callback}
        drawn = sample(self.unet, self.scheduler, entered, ids, settings, seed=seed, **more)
        drawn = grid.leave(drawn, (anchors.shape[-2], anchors.shape[-1]))
        _require_finite(drawn, self.scheduler)
        return _to_uint8(drawn.unflatten(0, (len(anchors), settings.candidates)))


def check_sampling(settings: Sampling, scheduler: Any, max_strength: float = 1.0) -> None:
    """Refuse settings that cannot be sampled with a model that was trained up to ``max_strength``.

    Raises:
        UserError: names the value and what is allowed.
    """
    if settings.candidates < 1:
        raise UserError(f"candidates {settings.candidates} is too few; choose at least 1")
    if not 0.0 <= settings.interpolation_weight <= 1.0:
        raise UserError(
            f"interpolation_weight {settings.interpolation_weight} is outside 0 (all anchor) to 1 (no anchor)"
        )
    if not 1.0 <= settings.guidance_scale < math.inf:
        raise UserError(f"guidance_scale {settings.guidance_scale} is below 1 (no guidance) or not finite")
    if not 0.0 <= settings.eta <= 1.0:
        raise UserError(f"eta {settings.eta} is outside 0 (deterministic) to 1 (ancestral)")
    if not 0.0 < settings.strength <= 1.0:
        raise UserError(
            f"strength {settings.strength} must be above 0 (nothing is changed) and at most 1 (from pure noise)"
        )
    if settings.anchor_noise not in (known := get_args(AnchorNoise)):
        raise UserError(f"anchor_noise '{settings.anchor_noise}' is not one of {', '.join(known)}")
    total = int(scheduler.config.num_train_timesteps)
    if not 1 <= settings.steps <= total:
        raise UserError(f"steps {settings.steps} is outside 1 to {total}, the model's noise levels")
    check_strength(settings.steps, settings.strength, max_strength)
    if settings.strength < 1.0 and isinstance(scheduler, PNDMScheduler) and not scheduler.config.skip_prk_steps:
        raise UserError("PNDMScheduler's first steps need strength 1; choose skip_prk_steps true, or another scheduler")
    if isinstance(scheduler, DDIMScheduler) and total % settings.steps:
        near = min((s for s in range(1, total + 1) if total % s == 0), key=lambda s: abs(s - settings.steps))
        raise UserError(
            f"steps {settings.steps} does not divide the model's {total} noise levels; the nearest is {near}"
        )

    _require_signal(settings, scheduler)


def _require_signal(settings: Sampling, scheduler: Any) -> None:
    """Refuse to begin where a model that predicts the noise cannot tell what is in the image.

    The clean image is (x - sqrt(1 - abar) noise) / sqrt(abar): the U-Net's error grows by 1 / sqrt(abar), and what
    comes of it is no image unless it is clamped.
    """
    if scheduler.config.prediction_type != "epsilon":
        return
    abar = abar_at(scheduler, timesteps_of(scheduler, settings)[0])
    clamped = scheduler.config.get("clip_sample") or scheduler.config.get("thresholding")
    if abar < NO_SIGNAL:
        raise UserError(
            "the schedule has zero terminal SNR, where a model that predicts the noise knows nothing of the image; "
            "choose a strength below 1, or a model that predicts v"
        )
    if abar < FAINT and not clamped:
        raise UserError(
            f"the model predicts the noise, and its schedule leaves {abar:.1e} of the image at the level where the "
            f"steps begin: its errors grow {abar**-0.5:.0f} times there; set clip_sample true, or a strength below 1"
        )


def check_strength(steps: int, strength: float, trained: float) -> None:
    """Refuse steps that begin above the fraction ``trained`` of the noise levels.

    Raises:
        UserError: says where they would begin.
    """
    if (reached := steps_taken(steps, strength) / steps) > trained:
        raise UserError(
            f"the diffusion model was trained for strength {trained:g} at most (diffusion.max_strength), and "
            f"{steps} steps of strength {strength:g} begin at {reached:.2g} of the noise levels"
        )


def _require_ids(ids: Tensor, anchors: int) -> None:
    """Refuse ids that name no noise: each anchor has one, from 0 to 2^32 - 1."""
    if ids.shape != (anchors,):
        raise UserError(f"anchor_ids must be [{anchors}], one for each anchor, got {list(ids.shape)}")
    wrong = ids[(ids < 0) | (ids >= 2**32)]
    if len(wrong):
        raise UserError(f"anchor_ids has {int(wrong[0])}; an id is the index of an image, from 0 to 4294967295")


def _require_finite(drawn: Tensor, scheduler: Any) -> None:
    """Refuse what is no image, and say what may have led to it."""
    if bool(torch.isfinite(drawn).all()):
        return
    if float(scheduler.alphas_cumprod[-1]) < NO_SIGNAL:
        fix = "its schedule has zero terminal SNR: choose eta 0, or let from_pretrained choose the sampler"
    else:
        fix = "train it longer or with precision 32"
    raise UserError(f"the diffusion model made values that are not finite; {fix}")


def _to_uint8(drawn: Tensor) -> SyntheticPositiveOutput:
    """Round [-1, 1] to uint8 (the reference truncates, which darkens by half a grey level)."""
    saturated = (drawn.abs() > 1.0).float().mean(dim=(2, 3, 4))
    images = ((drawn.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return SyntheticPositiveOutput(images=images, saturated=saturated)
