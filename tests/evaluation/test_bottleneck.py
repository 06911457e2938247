"""The diffusion model's own features, measured like an encoder's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsp import SyntheticPositivePipeline
from clsp.diffusion.samplers import make_sampler
from clsp.diffusion.unet import build_scheduler, build_unet
from clsp.errors import UserError
from clsp.evaluation import bottleneck
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluate import evaluate
from clsp.evaluation.task import make_task
from clsp.images.imageset import Images, Split


@pytest.fixture
def pipeline(tiny_diffusion):
    torch.manual_seed(0)
    config = tiny_diffusion()
    settings = dict(build_scheduler(config).config)
    return SyntheticPositivePipeline(
        build_unet(config, channels=1, size=8).eval(), make_sampler("ddim", settings, clip_sample=False)
    )


def gray(count, labels):
    """Images as dark or bright as their label says."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (count, 1, 8, 8)) + 190 * labels[:, None, None, None]
    return Split(images=pixels.astype(np.uint8), names=[str(i) for i in range(count)], labels=labels)


def test_features_are_a_function_of_the_image_its_place_and_the_seed(pipeline):
    images = gray(300, np.arange(300) % 2).images
    whole = bottleneck.bottleneck(pipeline, images, 0.1, seed=0)
    assert whole.shape == (300, pipeline.unet.config.block_out_channels[-1])
    torch.testing.assert_close(bottleneck.bottleneck(pipeline, images[:20], 0.1, seed=0), whole[:20])
    assert not torch.allclose(bottleneck.bottleneck(pipeline, images[:20], 0.1, seed=1), whole[:20])
    calm, wild = (
        (bottleneck.bottleneck(pipeline, images[:20], level, seed=0)
        - bottleneck.bottleneck(pipeline, images[:20], level, seed=1)).abs().mean()
        for level in (0.01, 0.4)
    )  # fmt: skip
    assert calm < wild


def test_the_noise_level_is_chosen_on_held_out_train_images(pipeline, monkeypatch):
    labels = np.arange(80) % 2
    images = Images(train=gray(80, labels), test=gray(40, labels[:40]), classes=("dark", "bright"), source="made")

    config = EvaluateConfig()
    task = make_task(images, config, seed=0)
    monkeypatch.setattr(SyntheticPositivePipeline, "from_pretrained", lambda source: pipeline)
    seen = []
    true = bottleneck._held_out

    def counted(features, *rest):
        seen.append(true(features, *rest) + (1.0 if len(seen) == 2 else 0.0))
        return seen[-1]

    monkeypatch.setattr(bottleneck, "_held_out", counted)
    result = evaluate(bottleneck.Diffusion("there", task, seed=0), task, config)
    assert len(seen) == len(bottleneck.LEVELS)
    assert f"at noise level {bottleneck.LEVELS[2]:g} of its range" in result["linear"].protocol
    assert result["linear"].value == 100.0
    assert set(result.record()["measures"]) == {"linear", "knn", "retrieval"}


def test_noise_levels_that_the_model_does_not_know_are_not_tried(pipeline, monkeypatch):
    labels = np.arange(80) % 2
    images = Images(train=gray(80, labels), test=gray(40, labels[:40]), classes=("dark", "bright"), source="made")
    pipeline.max_strength = 0.15
    monkeypatch.setattr(SyntheticPositivePipeline, "from_pretrained", lambda source: pipeline)
    tried, true = [], bottleneck.bottleneck

    def noted(pipeline, images, level, *, seed):
        tried.append(level)
        return true(pipeline, images, level, seed=seed)

    monkeypatch.setattr(bottleneck, "bottleneck", noted)
    assert bottleneck.Diffusion("there", make_task(images, EvaluateConfig(), seed=0), seed=0).test.shape[0] == 40
    assert tried[:-1] == [0.01, 0.05, 0.1, 0.15]  # the last one is the chosen level's, on the test images


def test_without_labels_there_is_nothing_to_measure(pipeline):
    part = gray(20, np.zeros(20, dtype=np.int64))
    bare = Split(images=part.images, names=part.names, labels=None)
    task = make_task(Images(train=bare, test=None, classes=None, source="made"),
                     EvaluateConfig(), seed=0)  # fmt: skip
    with pytest.raises(UserError, match="evaluated by labels"):
        bottleneck.Diffusion("there", task, seed=0)
