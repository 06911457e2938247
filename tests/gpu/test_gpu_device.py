"""What only a real GPU can tell: what waits for it, what stays in its memory, and how much of that was planned."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import pytest
import torch

from clsp.diffusion.training import train_diffusion
from clsp.encoders.config import BackboneConfig
from clsp.engine.fit import Callback
from clsp.images.imageset import Images, Split
from clsp.positives.config import SynthesizeConfig
from clsp.positives.synthesize import synthesize
from clsp.preflight.stages import Plan, plan_stages
from clsp.recipes.arms import parse_arms
from clsp.recipes.recipe import load_recipe
from clsp.training.pretrain import pretrain
from tiny import diffusion_config, images_of, pretrain_config


class Watch(Callback):
    """Lets torch warn of what waits for the device, from a step on to another one."""

    def __init__(self, first, last):
        self.first, self.last = first, last

    def on_step_end(self, training, number):
        if number == self.first:
            torch.cuda.set_sync_debug_mode("warn")
        if number == self.last:
            torch.cuda.set_sync_debug_mode("default")
        return {}


def test_a_step_waits_for_the_device_once(gpu, tmp_path):
    config = pretrain_config(epochs=4, log_every=1000)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pretrain(images_of(48), config, gpu.hardware, seed=0, folder=tmp_path, callbacks=[Watch(3, 8)])
    waits = [str(one.message) for one in said if "synchroniz" in str(one.message)]
    assert len(waits) <= 5, waits  # whether the loss is finite is asked in each of the five


class Layouts(Callback):
    """Where the encoder's kernels lie, and how, after the first step."""

    def __init__(self):
        self.kernels, self.pixels = [], None

    def on_step_end(self, training, number):
        every = training.method.encoder.parameters()
        self.kernels = [value for value in every if value.ndim == 4 and value.shape[-1] > 1 and value.shape[1] > 1]
        self.pixels = training.material.pixels[torch.arange(2, device=training.mean.device)]
        return {}


def test_a_training_has_its_images_on_the_device_and_its_kernels_channels_last(place, tmp_path):
    seen = Layouts()
    thin = BackboneConfig(args={"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]})  # thinner ones stay as they are
    pretrain(images_of(48), pretrain_config(backbone=thin), place.hardware, seed=0, folder=tmp_path, callbacks=[seen])
    assert seen.pixels.device.type == place.device.type
    for value in seen.kernels:
        assert value.device.type == place.device.type and value.is_contiguous(memory_format=torch.channels_last)
    assert seen.kernels


def test_each_stage_gives_its_memory_back(gpu, tmp_path):
    images, held = images_of(48), []
    for number in range(3):  # the first takes what libraries keep for themselves
        folder = tmp_path / str(number)
        train_diffusion(images, diffusion_config(), gpu.hardware, seed=0, folder=folder / "diffusion")
        config = SynthesizeConfig(candidates=2, steps=10, precision="32", gate="off")
        bank = synthesize(images, folder / "diffusion", config, gpu.hardware, seed=0, folder=folder / "bank")
        pretrain(images, pretrain_config(), gpu.hardware, seed=0, folder=folder / "encoder", bank=bank)
        gc.collect()
        held.append(torch.cuda.memory_allocated())
    assert held[2] - held[0] < 1_000_000


def test_the_peak_is_what_was_planned(gpu, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2048, 3, 32, 32), dtype=np.uint8)
    split = Split(images=pixels, names=[str(number) for number in range(len(pixels))], labels=np.arange(2048) % 10)
    images = Images(source="made", train=split, test=None, classes=tuple(map(str, range(10))))
    recipe = load_recipe("cifar10", {"pretrain": {"epochs": 1, "warmup_epochs": 0, "knn_every": 0}})
    planned = plan_stages(Plan(recipe, images, None), parse_arms("simclr"))[-1].memory
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    arm = recipe.pretraining(parse_arms("simclr")[0])
    pretrain(images, arm, gpu.hardware, seed=0, folder=tmp_path)
    assert torch.cuda.max_memory_allocated() - before == pytest.approx(planned, rel=0.1)
