"""Every scheduler draws, and starts where its strength says."""

from __future__ import annotations

from typing import get_args

import diffusers
import numpy as np
import pytest
import torch

from clsp import SyntheticPositivePipeline, randomness
from clsp.diffusion import interpolation
from clsp.diffusion.config import SamplerName
from clsp.diffusion.interpolation import Sampling, sample
from clsp.diffusion.samplers import make_sampler
from clsp.errors import UserError

SCHEDULERS = {
    "DDIM": ("DDIMScheduler", {}),
    "DDPM": ("DDPMScheduler", {}),
    "DPM++ 3": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 3}),
    "SDE-DPM++": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "DEIS": ("DEISMultistepScheduler", {}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_draws_finite_images_that_a_seed_repeats(unet, settings, anchors, name):
    kind, options = SCHEDULERS[name]
    scheduler = getattr(diffusers, kind).from_config(settings(), **options)
    pipeline = SyntheticPositivePipeline(unet, scheduler)

    def run(seed):
        torch.manual_seed(seed + 100)  # torch's own generator plays no part
        return pipeline(anchors, candidates=2, num_inference_steps=10, eta=0.5, seed=seed).images

    first = run(0)
    torch.manual_seed(7)
    assert first.shape == (3, 2, 1, 8, 8)
    assert torch.equal(first, pipeline(anchors, candidates=2, num_inference_steps=10, eta=0.5, seed=0).images)
    assert not torch.equal(first, run(1))
    lone = pipeline(anchors[1:2], candidates=2, num_inference_steps=10, eta=0.5, seed=0, anchor_ids=[1]).images
    assert int((lone[0].int() - first[1].int()).abs().max()) <= 1


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_strength_starts_from_the_noised_anchor_and_takes_its_share_of_the_steps(unet, settings, anchors, name):
    pipeline = SyntheticPositivePipeline(unet, make_sampler(name, settings(), clip_sample=True))
    seen = []
    for strength in (1.0, 0.5, 0.1):
        taken = []
        out = pipeline(
            anchors,
            candidates=2,
            num_inference_steps=20,
            strength=strength,
            callback=lambda index, x, taken=taken: taken.append(index),
        )
        assert taken == list(range(round(20 * strength)))
        seen.append(float((out.images.float() / 127.5 - 1 - anchors[:, None]).abs().mean()))
    assert seen[2] < seen[1] < seen[0]  # the less noise, the nearer to the anchor, even with an untrained network


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_below_strength_1_a_sample_starts_at_its_noise_level(unet, settings, anchors, monkeypatch, name):
    seen = []

    def watch(unet, x, *rest):
        seen.append(x.clone())
        return torch.zeros_like(x)

    monkeypatch.setattr(interpolation, "interpolated_noise", watch)
    sampler, ids = make_sampler(name, settings(timesteps=1000), clip_sample=True), torch.arange(3)
    sample(unet, sampler, anchors, ids, Sampling(candidates=1, steps=10, strength=0.6), seed=5)
    noise = randomness.normal(5, "sampler start", (ids, torch.zeros_like(ids)), anchors.shape[1:])
    # Half a level's tolerance: solvers in sigma space find their sigmas by interpolation.
    a = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[599]
    torch.testing.assert_close(seen[0], a**0.5 * anchors + (1 - a) ** 0.5 * noise, atol=0.01, rtol=0)


def test_a_sample_may_start_from_another_image_than_its_anchor(draw, unet, settings, anchors):
    half = {"strength": 0.6, "interpolation_weight": 1.0}
    own, others = (x[:, None].expand(-1, 3, -1, -1, -1) for x in (anchors, anchors.roll(1, 0)))
    assert torch.equal(draw(unet, settings, anchors, starts=own, **half), draw(unet, settings, anchors, **half))
    shifted = draw(unet, settings, anchors, starts=others, **half)  # w = 1: of the anchor nothing is left
    assert torch.equal(shifted, draw(unet, settings, anchors.roll(1, 0), **half))
    mixed = draw(unet, settings, anchors, starts=others, strength=0.6, interpolation_weight=0.1)
    assert not torch.equal(mixed, shifted)
    assert not torch.equal(mixed, draw(unet, settings, anchors, strength=0.6, interpolation_weight=0.1))
    with pytest.raises(UserError, match="strength 1 begins with"):
        draw(unet, settings, anchors, starts=others, interpolation_weight=1.0)
    with pytest.raises(UserError, match=r"starts must be \[3, 3, 1, 8, 8\], got \[3, 1, 8, 8\]"):
        draw(unet, settings, anchors, starts=anchors, strength=0.6)


@pytest.mark.parametrize(
    ("steps", "strength", "trained", "begins"), [(5, 1.0, 0.5, "1"), (7, 0.5, 0.5, "0.57"), (10, 0.5, 0.4, "0.5")]
)
def test_noise_levels_that_a_model_was_not_trained_for_are_refused(
    unet, settings, anchors, steps, strength, trained, begins
):
    pipeline = SyntheticPositivePipeline(unet, make_sampler("dpmsolver++", settings(), clip_sample=True))
    pipeline.max_strength = trained
    with pytest.raises(UserError, match=f"strength {trained} at most .* begin at {begins} of the noise levels"):
        pipeline(anchors, 1, num_inference_steps=steps, strength=strength)
    pipeline.max_strength = 1.0
    pipeline(anchors, 1, num_inference_steps=steps, strength=strength)


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_clip_sample_clamps_the_predicted_clean_image(unet, settings, anchors, name):
    saturated = []
    for clip in (False, True):
        sampler = make_sampler(name, settings(), clip_sample=clip)
        out = SyntheticPositivePipeline(unet, sampler)(3 * anchors, candidates=2, num_inference_steps=10)
        saturated.append(float(out.saturated.mean()))
    assert saturated[1] < saturated[0]  # DEIS clamps the prediction too, but extrapolates beyond it
    assert name == "deis" or saturated[1] < 0.01


def test_an_unknown_sampler_is_named(settings):
    with pytest.raises(UserError, match=r"sampler 'dpm' is not one of ddim, dpmsolver\+\+"):
        make_sampler("dpm", settings(), clip_sample=False)
