"""The smallest U-Net, the settings of its scheduler, and anchors."""

from __future__ import annotations

import pytest
import torch

from clsp import SyntheticPositivePipeline
from clsp.diffusion.samplers import make_sampler
from clsp.diffusion.unet import build_scheduler, build_unet


@pytest.fixture
def unet(tiny_diffusion):
    torch.manual_seed(0)
    return build_unet(tiny_diffusion(dropout=0.1), channels=1, size=8).eval()


@pytest.fixture
def settings(tiny_diffusion):
    def make(**changes):
        return dict(build_scheduler(tiny_diffusion(**changes)).config)

    return make


@pytest.fixture
def anchors():
    return torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def draw():
    """Draw with DDIM, few steps and the predicted image clamped."""

    def run(unet, settings, anchors, ids=(0, 1, 2), **how):
        pipeline = SyntheticPositivePipeline(unet, make_sampler("ddim", settings(), clip_sample=True))
        options = {"candidates": 3, "num_inference_steps": 5, "eta": 1.0, **how}
        return pipeline(anchors, anchor_ids=list(ids), **options).images

    return run
