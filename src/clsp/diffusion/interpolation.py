"""Feature interpolation: an unconditional U-Net made to draw images with an anchor's content.

Zeng et al., "Contrastive Learning with Synthetic Positives" (arXiv 2408.16965). At every denoising step the output h of
the U-Net's middle block is replaced by w * h + (1 - w) * h_a, where h_a comes from the anchor, noised to the same
level. The skip connections stay the sample's own: content travels through h, the background through the skips. So
w = 1 is a plain random sample and w = 0.1, the paper's value, is nine tenths anchor.

Beyond the paper, the mixed prediction may be guided: plain + s * (mixed - plain), where plain is what the U-Net says of
the sample alone. This is the formula of classifier-free guidance (Ho and Salimans, arXiv 2207.12598, equation 6, there
s = 1 + w) with the anchor's features in the place of the class; nothing is trained for it.

A conditional U-Net (`clsp.diffusion.condition`) is told the anchor's embedding, too. With w = 1 it draws by that alone.
The plain prediction is then what it says when it is told nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor

from clsp import randomness
from clsp.diffusion.config import AnchorNoise
from clsp.diffusion.process import abar_at
from clsp.errors import UserError


@dataclass(frozen=True)
class Encoded:
    """What the first half of a U-Net made of its input."""

    middle: Tensor
    """h, the middle block's output: float [B, channels, H / 2^(levels-1), W / 2^(levels-1)]."""
    skips: tuple[Tensor, ...]
    """Inputs of the skip connections, finest first."""
    embedding: Tensor
    """The embedding of the time step, float [B, D]."""
    steps: Tensor
    """The time step, [B]."""


def encode(unet: UNet2DModel, x: Tensor, timestep: Tensor | float, told: Tensor | None = None) -> Encoded:
    """Run ``unet`` on x [B, C, H, W] at one ``timestep``, up to and including the middle block.

    ``told``: of a conditional one, float [B, D]; None: it is told nothing.
    """
    if unet.config.center_input_sample:
        x = 2 * x - 1.0
    x = x.to(unet.dtype)  # of a U-Net in 16 bit; the sampler computes in 32
    steps = torch.as_tensor(timestep, device=x.device).expand(x.shape[0])
    if unet.config.time_embedding_type == "learned":
        steps = steps.round().long() if steps.is_floating_point() else steps  # rows of a table
    embedding = unet.time_embedding(unet.time_proj(steps).to(unet.dtype))
    embedding = embedding if told is None else embedding + told.to(embedding.dtype)
    h = unet.conv_in(x)
    skips: tuple[Tensor, ...] = (h,)
    for block in unet.down_blocks:
        h, new = block(hidden_states=h, temb=embedding)
        skips += new
    return Encoded(unet.mid_block(h, embedding), skips, embedding, steps)


def decode(unet: UNet2DModel, encoded: Encoded) -> Tensor:
    """Run the second half of ``unet``: the predicted noise, float [B, C, H, W]; of 2 C where it learned a variance."""
    h, skips = encoded.middle, encoded.skips
    for block in unet.up_blocks:
        count = len(block.resnets)
        h = block(h, skips[-count:], encoded.embedding)
        skips = skips[:-count]
    out = unet.conv_out(unet.conv_act(unet.conv_norm_out(h)))
    # diffusers' convention: a U-Net with Fourier features of the time divides by it.
    return out / encoded.steps.reshape(-1, 1, 1, 1) if unet.config.time_embedding_type == "fourier" else out


def require_plain(unet: UNet2DModel, *, conditional: bool = False) -> None:
    """Refuse U-Nets that feature interpolation cannot draw with.

    These are conditional ones, unless what they are told is known (``conditional``), those without a middle block,
    those whose blocks carry a second stream past it (``SkipDownBlock2D`` and the like), and those whose output is
    neither the input's channels nor, with a learned variance, twice as many.

    Raises:
        UserError: names what is in the way.
    """
    if not isinstance(unet, UNet2DModel):
        raise UserError(f"feature interpolation needs an unconditional UNet2DModel, not a {type(unet).__name__}")
    for block in (*unet.down_blocks, *unet.up_blocks):
        if hasattr(block, "skip_conv"):
            raise UserError(f"a U-Net with {type(block).__name__} has no single middle feature; use plain blocks")
    if unet.class_embedding is not None and not conditional:
        raise UserError("feature interpolation needs an unconditional U-Net; this one is told a class")
    if unet.mid_block is None:
        raise UserError("feature interpolation needs a U-Net with a middle block; this one has none (mid_block_type)")
    inputs, outputs = int(unet.config.in_channels), int(unet.config.out_channels)
    if outputs not in (inputs, 2 * inputs):
        raise UserError(
            f"a U-Net with in_channels {inputs} and out_channels {outputs} is no unconditional noise predictor; "
            f"out_channels must be {inputs}, or {2 * inputs} with a learned variance"
        )


def interpolated_noise(
    unet: UNet2DModel,
    x: Tensor,
    anchors: Tensor,
    timestep: Tensor | float,
    weight: float,
    guidance: float = 1.0,
    told: Tensor | None = None,
) -> Tensor:
    """Predict the noise in x with middle features mixed from x and from the anchors (the paper's equation).

    Of a U-Net that was trained to predict something else (diffusers' ``prediction_type``), that is what is returned.

    Args:
        unet: the noise predictor, in eval mode.
        x: noisy samples, float [B * k, C, H, W], the k candidates of an anchor next to each other.
        anchors: the anchors noised to the same level, float [B, C, H, W]; encoded once for their k candidates (k is 1
            where each candidate has an anchor of its own).
        timestep: the time step of both.
        weight: w in [0, 1], the fraction of the samples' own features.
        guidance: s >= 1, how far to go from the plain prediction through the mixed one; 1 is the mixed one.
        told: what a conditional U-Net is told of the anchors, float [A, D]; B is A or A * k.

    Returns:
        float [B * k, C, H, W].
    """
    if weight == 1.0:
        drawn = _mean(unet, decode(unet, encode(unet, x, timestep, _each(told, x))))
        if told is None or guidance == 1.0:
            return drawn
        return _guided(_mean(unet, decode(unet, encode(unet, x, timestep))), drawn, guidance)
    known = None if told is None else torch.cat((_each(told, x), _each(told, anchors)))
    both = encode(unet, torch.cat((x, anchors)), timestep, known)
    count, candidates = len(x), len(x) // len(anchors)
    own, anchor = both.middle[:count], both.middle[count:].repeat_interleave(candidates, dim=0)
    skips = tuple(skip[:count] for skip in both.skips)
    plain = Encoded(own, skips, both.embedding[:count], both.steps[:count])
    mixed = _mean(unet, decode(unet, replace(plain, middle=weight * own + (1.0 - weight) * anchor)))
    if guidance == 1.0:
        return mixed
    if told is not None:
        plain = encode(unet, x, timestep)
    return _guided(_mean(unet, decode(unet, plain)), mixed, guidance)


def _each(told: Tensor | None, images: Tensor) -> Any:
    """A row of ``told`` for every one of ``images``, which are the anchors or their candidates."""
    return None if told is None else told.repeat_interleave(len(images) // len(told), dim=0)


def _guided(plain: Tensor, mixed: Tensor, guidance: float) -> Tensor:
    """Go from one through the other; in 32 bit: what is far longer than the difference must not be rounded before."""
    return torch.lerp(plain.float(), mixed.float(), guidance)


def _mean(unet: UNet2DModel, predicted: Tensor) -> Tensor:
    """Leave out a learned variance, the second half of the channels: the samplers have a variance of their own."""
    return predicted[:, : unet.config.in_channels]


@dataclass(kw_only=True)
class Sampling:
    """How candidates are sampled."""

    candidates: int = 8
    """k, candidates per anchor."""
    interpolation_weight: float = 0.1
    """w in [0, 1]: the fraction of the random sample's own middle features; the rest is the anchor's."""
    guidance_scale: float = 1.0
    """s >= 1: how far the prediction goes from the plain one through the mixed one; 1 is the mixed one (the paper)."""
    steps: int = 100
    """Denoising steps."""
    eta: float = 0.1
    """DDIM's noise: 0 is deterministic, 1 is ancestral sampling. Ignored by schedulers that have no eta."""
    anchor_noise: AnchorNoise = "fresh"
    """How an anchor is noised, see `AnchorNoise`."""
    strength: float = 1.0
    """Share of the noise levels that a sample passes: 1 starts from pure noise (the paper); below, from an image
    noised to that level, and only that fraction of the steps is taken (diffusers' word, from image-to-image)."""


Callback = Callable[[int, Tensor], None]


@torch.no_grad()
def sample(
    unet: UNet2DModel,
    scheduler: Any,
    anchors: Tensor,
    ids: Tensor,
    settings: Sampling,
    *,
    seed: int,
    starts: Tensor | None = None,
    told: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Draw k candidates for each anchor.

    All noise is a function of (seed, anchor id, candidate, step): the result for an anchor does not depend on what
    else is in the batch, beyond the last bits of floating-point sums.

    Args:
        unet: a noise predictor in eval mode.
        scheduler: a diffusers scheduler over the same betas (DDIM, DPM-Solver++, UniPC, DEIS, Euler, DDPM, ...).
        anchors: clean anchors, float [B, C, H, W] in [-1, 1], already padded to the U-Net's grid.
        ids: the anchors' dataset indices, int64 [B], on the anchors' device.
        settings: the sampler's.
        seed: any integer.
        starts: what is noised for samples to start from where ``settings.strength`` is below 1, like the result; None:
            their anchors.
        told: what a conditional ``unet`` is told of the anchors, float [B, D].
        callback: called after every step with its number and the samples so far.

    Returns:
        float [B * k, C, H, W], candidates of one anchor next to each other; in [-1, 1] up to overshoot.
    """
    timesteps = timesteps_of(scheduler, settings)
    k, shape = settings.candidates, anchors.shape[1:]
    rows = ids.repeat_interleave(k)
    numbers = torch.arange(k, device=ids.device).repeat(len(ids))
    x = randomness.normal(seed, "sampler start", (rows, numbers), shape)
    if settings.strength < 1.0:
        clean = anchors.repeat_interleave(k, dim=0) if starts is None else starts
        x = scheduler.add_noise(clean, x, timesteps[:1].to(x.device).expand(len(x)))
    else:
        x = x * float(scheduler.init_noise_sigma)
    fixed = randomness.normal(seed, "anchor noise", (ids,), shape) if settings.anchor_noise == "fixed" else None
    shown = anchors.repeat_interleave(k, dim=0) if settings.anchor_noise == "each" else anchors
    for index, t in enumerate(timesteps):
        name = (rows, numbers, index + 1) if settings.anchor_noise == "each" else (ids, index + 1)
        noise = randomness.normal(seed, "anchor noise", name, shape) if fixed is None else fixed
        noised = add_noise(scheduler, shown, noise, t)
        own = scheduler.scale_model_input(x, t)
        mixing = (settings.interpolation_weight, settings.guidance_scale)
        predicted = interpolated_noise(unet, own, noised, t, *mixing, told)
        extra = _step_noise(scheduler, settings.eta, seed, (rows, numbers, index), shape)
        x = scheduler.step(predicted.float(), t, x, return_dict=False, **extra)[0]
        if callback is not None:
            callback(index, x)
    return x


def steps_taken(steps: int, strength: float) -> int:
    """Return how many of ``steps`` denoising steps a ``strength`` in (0, 1] leaves: that fraction, at least one."""
    return max(round(steps * strength), 1)


def timesteps_of(scheduler: Any, settings: Sampling) -> Tensor:
    """Return the time steps to take, float or int64: all, or with a strength below 1 the last ones."""
    scheduler.set_timesteps(settings.steps)  # on the CPU: a scheduler on the GPU synchronises at every step
    # A solver of two stages lists each time step twice, but for the first, and begins a step at an even place.
    first = (settings.steps - steps_taken(settings.steps, settings.strength)) * int(getattr(scheduler, "order", 1))
    if first and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return scheduler.timesteps[first:]


def add_noise(scheduler: Any, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """Noise ``clean`` to ``timestep`` on the scale that the U-Net knows: sqrt(abar_t) x + sqrt(1 - abar_t) noise.

    Written out because schedulers that work in sigma space scale their own ``add_noise`` differently.
    """
    abar = abar_at(scheduler, timestep)
    return abar**0.5 * clean + (1.0 - abar) ** 0.5 * noise


def _step_noise(
    scheduler: Any, eta: float, seed: int, where: tuple[Tensor, Tensor, int], shape: torch.Size
) -> dict[str, Any]:
    """Give a scheduler's ``step`` its noise in the form that it takes: named by (anchor id, candidate, step)."""
    accepted = inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"eta": eta} if "eta" in accepted else {}
    if "eta" in accepted and eta == 0:
        return options
    if "variance_noise" in accepted:
        options["variance_noise"] = randomness.normal(seed, "sampler noise", where, shape)
    elif "generator" in accepted:
        words = randomness.bits(seed, "sampler noise", where, 1)[:, 0].tolist()
        options["generator"] = [torch.Generator(where[0].device).manual_seed(word) for word in words]
    return options
