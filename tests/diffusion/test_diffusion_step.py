"""One step of the diffusion model's training is Ho et al.'s: which noise, which level, which images, at which cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clsp.diffusion.training import DiffusionTraining, train_diffusion
from clsp.diffusion.unet import build_unet
from clsp.engine.checkpoint import load_checkpoint
from clsp.engine.flops import count_flops
from clsp.engine.hardware import HardwareConfig
from clsp.engine.pixels import Pixels
from clsp.images.imageset import subset
from clsp.positives.cost import training_cost

CPU = HardwareConfig(accelerator="cpu")


@pytest.fixture
def images(make_images):
    return make_images(20, None, channels=1, size=8)


class Seen:
    """What the U-Net was shown and told, what was mixed into the images, and what the U-Net said."""

    def __init__(self, training, monkeypatch):
        mix = training.noising.add_noise

        def add_noise(clean, noise, t):
            self.clean, self.noise, self.level = clean, noise, t
            return mix(clean, noise, t)

        monkeypatch.setattr(training.noising, "add_noise", add_noise)
        training.unet.register_forward_hook(self._look)

    def _look(self, unet, given, out):
        self.shown, self.told, self.said = given[0], given[1], out[0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_unet_is_shown_an_image_at_the_level_that_it_is_told_and_asked_for_what_was_mixed_in(
    images, tiny_diffusion, monkeypatch, prediction
):
    config = tiny_diffusion(prediction_type=prediction)
    training = DiffusionTraining(config, Pixels(images.train.images), seed=0)
    seen = Seen(training, monkeypatch)
    loss = training.step(3).loss
    abar = np.cumprod(1 - np.linspace(config.beta_start, config.beta_end, config.timesteps))
    a = torch.from_numpy(abar)[seen.told][:, None, None, None].float()
    torch.testing.assert_close(seen.shown, a.sqrt() * seen.clean + (1 - a).sqrt() * seen.noise, rtol=1e-4, atol=1e-5)
    target = seen.noise if prediction == "epsilon" else a.sqrt() * seen.noise - (1 - a).sqrt() * seen.clean
    torch.testing.assert_close(loss, (seen.said - target).square().mean(), rtol=1e-4, atol=1e-5)


def test_a_dispersive_term_is_added_to_the_same_prediction(images, tiny_diffusion):
    """It is the plain formula of the middle block's output, and the prediction is what it was without it."""
    plain, more = (DiffusionTraining(tiny_diffusion(dispersive=d), Pixels(images.train.images), seed=0) for d in (0, 2))
    more.unet.load_state_dict(plain.unet.state_dict())
    middle = []
    more.unet.mid_block.register_forward_hook(lambda module, given, out: middle.append(out.detach()))
    torch.manual_seed(0)
    one = plain.step(3)
    torch.manual_seed(0)
    other = more.step(3)
    torch.testing.assert_close(other.terms["noise_prediction"], one.terms["noise_prediction"])
    z = middle[0].flatten(1)
    pairs = [torch.exp(-(a - b).square().mean()) for a in z for b in z]
    torch.testing.assert_close(other.terms["dispersive"], 2 * torch.stack(pairs).mean().log())
    other.loss.backward()
    assert more.unet.mid_block.resnets[0].conv1.weight.grad.abs().sum() > 0


def test_a_crop_shows_a_square_of_the_area_that_was_asked_for_another_each_time(tiny_diffusion, monkeypatch):
    slope = np.broadcast_to(np.arange(0, 256, 16, dtype=np.uint8), (20, 1, 16, 16))
    config = tiny_diffusion(crop_scale=[0.25, 0.25], horizontal_flip=False)
    training = DiffusionTraining(config, Pixels(slope.copy()), seed=0)
    seen, lefts = Seen(training, monkeypatch), []
    for number in (0, 1):
        training.step(number)
        across = (seen.clean + 1) * 127.5  # half as steep as the image, whose columns rise by 16
        torch.testing.assert_close(
            across[..., 12] - across[..., 4], torch.full_like(across[..., 0], 64.0), rtol=0, atol=1
        )
        lefts.append(across[:, 0, 0, 0])
    assert len(torch.cat(lefts).unique()) > len(lefts[0])


def test_every_step_and_every_image_of_it_has_noise_and_a_level_of_its_own(images, tiny_diffusion, monkeypatch):
    training = DiffusionTraining(tiny_diffusion(), Pixels(images.train.images), seed=0)
    seen = Seen(training, monkeypatch)
    noises, levels = [], []
    for number in (0, 1, 2, 1):
        training.step(number)
        noises.append(seen.noise)
        levels.append(seen.told)
    assert torch.equal(noises[1], noises[3])
    assert torch.equal(levels[1], levels[3])
    assert len(torch.cat(noises[:3]).unique(dim=0)) == 3 * len(noises[0])
    assert len({tuple(level.tolist()) for level in levels[:3]}) == 3
    assert abs(float(torch.cat(noises[:3]).std()) - 1) < 0.05


def test_the_saved_unet_is_the_average(images, tiny_diffusion, tmp_path):
    train_diffusion(images, tiny_diffusion(), CPU, seed=0, folder=tmp_path)
    from clsp.diffusion.folder import load_diffusion

    state = load_checkpoint(tmp_path / "checkpoints/last.safetensors")["training"]
    saved = load_diffusion(tmp_path)[0].state_dict()
    assert all(torch.equal(tensor, state[f"ema.average.{name}"]) for name, tensor in saved.items())
    assert not any(torch.equal(tensor, state[f"unet.{name}"]) for name, tensor in saved.items())


def test_a_model_of_some_images_is_a_model_of_those_alone(images, tiny_diffusion, tmp_path):
    rows = subset(20, 5, seed=0)
    part = replace(images.train, images=images.train.images[rows], names=[images.train.names[row] for row in rows])
    some = replace(images, train=replace(part, labels=None))
    config = tiny_diffusion(steps=2)
    chosen = train_diffusion(images, replace(config, images=5), CPU, seed=0, folder=tmp_path / "chosen")
    alone = train_diffusion(some, config, CPU, seed=0, folder=tmp_path / "alone")
    whole = train_diffusion(images, config, CPU, seed=0, folder=tmp_path / "whole")
    assert chosen.facts["images"] == 5
    assert chosen.facts["unet"] == alone.facts["unet"] != whole.facts["unet"]


def test_the_cost_of_a_training_has_its_backward_pass_its_batch_and_its_steps(images, tiny_diffusion, tmp_path):
    costs = {}
    for name, changes in {"one": {}, "batch": {"batch_size": 16}, "steps": {"steps": 12}}.items():
        train_diffusion(images, tiny_diffusion(**changes), CPU, seed=0, folder=tmp_path / name)
        costs[name] = training_cost(tmp_path / name)["flops"]
    unet, x = build_unet(tiny_diffusion(), channels=1, size=8), torch.zeros(1, 1, 8, 8)
    with torch.no_grad():
        forward = count_flops(lambda: unet(x, 0))
    assert 2.5 < costs["one"] / (6 * 8 * forward) <= 3
    assert costs["batch"] == costs["steps"] == 2 * costs["one"]
