"""A model that is still trained draws on trial as the bank will be drawn, and gets more time where that is noise."""

from __future__ import annotations

import torch

from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.diffusion.training import train_diffusion
from clsp.diffusion.unet import build_scheduler, build_unet
from clsp.engine.course import Pace
from clsp.engine.hardware import HardwareConfig
from clsp.images.builtin import open_digits
from clsp.images.config import ImagesConfig
from clsp.positives.config import SynthesizeConfig
from clsp.positives.trial import try_draw
from tiny import diffusion_config

DRAWN = {"candidates": 2, "sampler": "sde-dpmsolver++", "steps": 10, "clip_sample": True}


def verdict(strength, start="anchor"):
    images, config = open_digits(ImagesConfig()), DiffusionConfig(widths=[8, 8], blocks=1, attention=[], norm_groups=4)
    torch.manual_seed(0)
    unet = build_unet(config, channels=1, size=8).eval()
    drawn = SynthesizeConfig(**DRAWN, strength=strength, start=start)
    return try_draw(unet, build_scheduler(config), images, drawn, max_strength=1.0, seed=0)


def test_what_an_untrained_model_draws_fails_and_what_is_the_anchor_itself_follows_it():
    noise = verdict(1.0)
    assert not noise.passed and noise.measures["follows"].value < 0.6
    near = verdict(0.1)  # one step from the anchor, hardly noised
    assert near.measures["follows"].value > 0.8
    assert verdict(0.5, "other").measures["follows"].value < near.measures["follows"].value


def test_on_trial_no_more_is_drawn_at_once_than_of_a_bank(monkeypatch):
    drawn = []
    draw = SyntheticPositivePipeline.draw

    def watched(self, anchors, settings, **how):
        drawn.append(len(anchors) * settings.candidates)
        return draw(self, anchors, settings, **how)

    monkeypatch.setattr(SyntheticPositivePipeline, "draw", watched)
    images, config = open_digits(ImagesConfig()), DiffusionConfig(widths=[8, 8], blocks=1, attention=[], norm_groups=4)
    unet, how = build_unet(config, channels=1, size=8).eval(), DRAWN | {"steps": 1, "candidates": 4, "batch_size": 16}
    try_draw(unet, build_scheduler(config), images, SynthesizeConfig(**how), max_strength=1.0, seed=0)
    assert max(drawn) == 16 and sum(drawn) == 128 * 4


def test_a_model_whose_candidates_fail_is_trained_for_longer(make_images, tmp_path):
    asked = []

    def serves(unet, scheduler, condition):
        asked.append(unet.training)
        return False

    config = diffusion_config(steps=40)
    pace = Pace(1e9, more=1.0)
    made = train_diffusion(
        make_images(), config, HardwareConfig(accelerator="cpu"), seed=0, folder=tmp_path, pace=pace, serves=serves
    )
    assert asked == [False] * 3 and made.facts["steps"] >= 1
