"""Drawing candidates: the reference's algorithm against ours, on one U-Net.

The reference is the paper's: DDIM with 100 steps and eta 0.1, in 32 bit, each candidate in a pass of its own, the
anchor noised and encoded anew for each of them, nothing clamped. Ours is the bank's sampler with a recipe's settings.
Without --diffusion the U-Net has random weights, which changes no time; with a trained one, --quality N also rates the
candidates of N anchors: how many a classifier gives their anchor's label, how they differ within a row, and how far
they are from the images (KID).
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from harness import Result, arguments, finish, floor_of, interleave
from quality import Quality
from torch import Tensor

from clsp.diffusion.folder import load_diffusion
from clsp.diffusion.interpolation import decode, encode
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.diffusion.samplers import make_sampler
from clsp.diffusion.unet import Grid, build_scheduler, build_unet
from clsp.engine.hardware import HardwareConfig, autocast_precision
from clsp.positives.config import SynthesizeConfig
from clsp.positives.cost import sampling_flops
from clsp.recipes.recipe import load_recipe

ANCHORS = 32
BF16 = autocast_precision("auto", HardwareConfig()) == "bf16-mixed"


def reference(unet: torch.nn.Module, anchors: Tensor, *, steps: int = 100, eta: float = 0.1, seed: int = 0) -> Tensor:
    """Draw one candidate for each anchor, float [B, C, H, W] in [-1, 1], as the reference does it.

    Args:
        unet: the noise predictor.
        anchors: float [B, C, H, W] in [-1, 1], on the U-Net's device.
        steps: denoising steps.
        eta: DDIM's noise.
        seed: names the noise.
    """
    generator = torch.Generator(anchors.device).manual_seed(seed)
    abars = torch.cat([torch.ones(1), build_scheduler_abars()])
    times = torch.linspace(len(abars) - 2, -1, steps + 1).round().long()
    draw = partial(torch.randn, anchors.shape, generator=generator, device=anchors.device)
    x = draw()
    for now, after in pairwise(times.tolist()):
        abar, next_abar = abars[now + 1], abars[after + 1]
        noised = abar.sqrt() * anchors + (1 - abar).sqrt() * draw()
        own, other = encode(unet, x, now), encode(unet, noised, now)
        noise = decode(unet, replace(own, middle=0.1 * own.middle + 0.9 * other.middle))
        clean = (x - (1 - abar).sqrt() * noise) / abar.sqrt()
        sigma = eta * ((1 - next_abar) / (1 - abar) * (1 - abar / next_abar)).sqrt()
        x = next_abar.sqrt() * clean + (1 - next_abar - sigma**2).sqrt() * noise
        x = x + sigma * draw()
    return x.clamp(-1.0, 1.0)


def resized(unet: torch.nn.Module, anchors: Tensor, *, seed: int) -> Tensor:
    """The reference for images of any size: brought to the U-Net's and back as ours are."""
    grid = Grid.of(unet, anchors.shape[1])
    return grid.leave(reference(unet, grid.enter(anchors), seed=seed), (anchors.shape[2], anchors.shape[3]))


def build_scheduler_abars() -> Tensor:
    """Return the products abar_t of the linear betas, float [1000]."""
    from clsp.diffusion.config import DiffusionConfig

    return build_scheduler(DiffusionConfig()).alphas_cumprod


def pipeline_of(
    config: SynthesizeConfig, unet: torch.nn.Module, settings: dict[str, object]
) -> SyntheticPositivePipeline:
    return SyntheticPositivePipeline(unet, make_sampler(config.sampler, settings, clip_sample=config.clip_sample))


def draw(pipeline: SyntheticPositivePipeline, config: SynthesizeConfig, anchors: Tensor) -> Tensor:
    """Draw k candidates an anchor, uint8 [B, k, C, H, W], in bf16 where the machine has it."""
    others = anchors.roll(1, 0)[:, None].expand(-1, config.candidates, -1, -1, -1)
    starts = others if config.start == "other" else None
    with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
        return pipeline.draw(anchors, config.sampling(), starts=starts).images


def main() -> None:
    options = arguments(__doc__ or "", recipe="fashion-mnist", diffusion="", quality=0)
    recipe = load_recipe(options.recipe)
    config = replace(recipe.synthesize, anchors=ANCHORS)
    if options.diffusion:
        unet, settings = load_diffusion(options.diffusion)
    else:
        torch.manual_seed(0)
        unet = build_unet(recipe.diffusion, channels=1, size=28).eval()
        settings = dict(build_scheduler(recipe.diffusion).config)
    side = unet.config.sample_size
    anchors = torch.rand(ANCHORS, unet.config.in_channels, side, side) * 2 - 1
    pipeline = pipeline_of(config, unet, settings)
    with torch.no_grad():
        rounds = interleave(lambda: reference(unet, anchors), lambda: draw(pipeline, config, anchors), options.rounds)
    seconds = sorted(rounds.ours)[len(rounds.ours) // 2]
    result: Result = rounds.result(
        "candidates a second against DDIM-100",
        10.0,
        per=ANCHORS * config.candidates,
        their_per=ANCHORS,
        floor=floor_of(sampling_flops(unet, config, ANCHORS), seconds, torch.bfloat16 if BF16 else torch.float32),
    )
    if options.diffusion and options.quality:
        quality = Quality(options.quality)
        begin = time.perf_counter()
        mine = quality.rate(lambda some: draw(pipeline, replace(config, candidates=2), some))
        other = quality.rate(lambda some: quality.pair(lambda seed: resized(unet, some, seed=seed)))
        result.quality = {
            "ours": mine,
            "reference": other,
            "seconds of this comparison": round(time.perf_counter() - begin),
        }
    finish([result], options.json)


if __name__ == "__main__":
    main()
