"""A bank that is drawn on a GPU shows what one of the CPU shows."""

from __future__ import annotations

import numpy as np
import pytest

from clsp.diffusion.training import train_diffusion
from clsp.positives.config import SynthesizeConfig
from clsp.positives.synthesize import synthesize
from tiny import diffusion_config, images_of


@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver++", "sde-dpmsolver++"])
@pytest.mark.parametrize("noise", ["fresh", "each", "fixed"])
def test_candidates_are_those_of_the_cpu(sampler, noise, place, tmp_path):
    images = images_of(48)
    train_diffusion(images, diffusion_config(), place.cpu, seed=0, folder=tmp_path / "diffusion")
    config = SynthesizeConfig(
        candidates=2, steps=10, sampler=sampler, anchor_noise=noise, clip_sample=True, precision="32", gate="off"
    )
    drawn = []
    for name, hardware in (("cpu", place.cpu), ("device", place.hardware)):
        bank = synthesize(images, tmp_path / "diffusion", config, hardware, seed=0, folder=tmp_path / name)
        drawn.append(bank.array(np.arange(len(bank))).astype(int))
    apart = np.abs(drawn[0] - drawn[1])
    assert apart.mean() < 0.5 and (apart > 3).mean() < 0.01  # of 255 grey levels
