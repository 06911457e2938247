"""Training of the diffusion model: the averaged weights, and what a kill costs."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from diffusers import DDPMPipeline
from safetensors.torch import load_file

from clsp import SyntheticPositivePipeline, files
from clsp.diffusion.config import SamplerName
from clsp.diffusion.levels import noise_levels, prediction_loss
from clsp.diffusion.training import train_diffusion
from clsp.diffusion.unet import build_scheduler
from clsp.engine.fit import NonFiniteLossError
from clsp.engine.hardware import HardwareConfig
from clsp.errors import UserError
from clsp.positives.cost import training_cost

CPU = HardwareConfig(accelerator="cpu")
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def train(make_images, tiny_diffusion):
    def run(folder, side=8, **changes):
        images = make_images(20, None, channels=1, size=side)
        return train_diffusion(images, tiny_diffusion(dropout=0.1, **changes), CPU, seed=0, folder=folder)

    return run


def test_a_run_that_was_killed_and_resumed_is_the_run_that_was_not(train, tmp_path, monkeypatch):
    train(tmp_path / "straight")
    monkeypatch.setenv("CLSP_FAULT", "step:4:eio")
    with pytest.raises(OSError, match="Input/output"):
        train(tmp_path / "killed", checkpoint_minutes=0)
    assert files.read_json(tmp_path / "killed/stage.json")["status"] == "interrupted"
    monkeypatch.delenv("CLSP_FAULT")
    train(tmp_path / "killed", checkpoint_minutes=0)
    straight, resumed = (load_file(tmp_path / name / WEIGHTS) for name in ("straight", "killed"))
    assert [name for name in straight if not torch.equal(straight[name], resumed[name])] == []
    steps = [line["step"] for line in files.read_jsonl(tmp_path / "killed/metrics.jsonl")]
    assert steps == sorted(set(steps))


def test_the_folder_is_a_diffusers_pipeline_and_is_not_trained_twice(train, tmp_path):
    first = train(tmp_path)
    time = (tmp_path / WEIGHTS).stat().st_mtime_ns
    assert train(tmp_path).facts == first.facts
    assert (tmp_path / WEIGHTS).stat().st_mtime_ns == time
    pipeline = DDPMPipeline.from_pretrained(tmp_path)
    assert pipeline.scheduler.config.num_train_timesteps == 100
    assert not list(tmp_path.rglob("*.bin"))


def test_stratified_levels_spread_each_batch_and_are_uniform_over_the_steps(tiny_diffusion):
    config = tiny_diffusion(stratified_levels=True, batch_size=20, timesteps=1000)
    place = torch.arange(20)
    steps = torch.stack([noise_levels(config, step, place, seed=0) for step in range(400)])
    assert steps.min() >= 0
    assert steps.max() <= 999
    gaps = steps.sort(dim=1).values.diff(dim=1)  # 1000 levels over 20 images
    assert ((gaps - 50).abs() <= 1).all()
    for column in steps.T:  # any one place: the mean of 400 uniform levels, within 4 standard errors
        assert abs(column.double().mean() - 499.5) < 4 * 1000 / 12**0.5 / 20
    halves = torch.cat([noise_levels(config, 3, part, seed=0) for part in place.split(10)])
    assert torch.equal(halves, steps[3])


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_counts_the_error_of_the_clean_image_up_to_gamma(tiny_diffusion, prediction):
    """Hang et al.: whatever is predicted, the loss is min(SNR, gamma) * |x0 - predicted x0|^2."""
    noising = build_scheduler(tiny_diffusion(prediction_type=prediction))
    clean, noise, predicted = torch.randn(3, 5, 1, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    t = torch.tensor([0, 10, 40, 70, 99])
    a = noising.alphas_cumprod[t][:, None, None, None]
    noised = a.sqrt() * clean + (1 - a).sqrt() * noise
    if prediction == "epsilon":
        guess = (noised - (1 - a).sqrt() * predicted) / a.sqrt()
    else:
        guess = a.sqrt() * noised - (1 - a).sqrt() * predicted
    weight = (a / (1 - a)).clamp(max=5.0)
    expected = (weight * (guess - clean) ** 2).mean()
    torch.testing.assert_close(prediction_loss(predicted, clean, noise, t, noising, 5.0), expected)
    target = noise if prediction == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * clean
    torch.testing.assert_close(
        prediction_loss(predicted, clean, noise, t, noising, None), ((predicted - target) ** 2).mean()
    )


def test_what_is_predicted_is_written_down_for_diffusers(train, tmp_path):
    train(tmp_path, prediction_type="v_prediction", min_snr_gamma=5.0)
    assert DDPMPipeline.from_pretrained(tmp_path).scheduler.config.prediction_type == "v_prediction"
    for name in get_args(SamplerName):
        sampler = SyntheticPositivePipeline.from_pretrained(tmp_path, sampler=name).scheduler
        assert sampler.config.prediction_type == "v_prediction"


def test_a_model_of_patches_is_read_as_one_by_its_channels(train, tmp_path):
    train(tmp_path, patch=2)
    pipeline = SyntheticPositivePipeline.from_pretrained(tmp_path, sampler="ddim", clip_sample=True)
    config = pipeline.unet.config
    assert (config.in_channels, config.out_channels, config.sample_size) == (4, 4, 4)
    images = pipeline(torch.rand(3, 1, 8, 8) * 2 - 1, candidates=2, num_inference_steps=2, eta=1.0).images
    assert images.shape == (3, 2, 1, 8, 8)
    train(tmp_path / "whole")
    assert training_cost(tmp_path)["flops"] < training_cost(tmp_path / "whole")["flops"] / 3


def test_a_model_of_smaller_images_learns_and_draws_at_its_size_and_gives_back_the_images(train, tmp_path):
    train(tmp_path, side=16, size=8)
    pipeline = SyntheticPositivePipeline.from_pretrained(tmp_path, sampler="ddim", clip_sample=True)
    assert pipeline.unet.config.sample_size == 8
    images = pipeline(torch.rand(3, 1, 16, 16) * 2 - 1, candidates=2, num_inference_steps=2, eta=1.0).images
    assert images.shape == (3, 2, 1, 16, 16)
    train(tmp_path / "whole", side=16, size=64)  # larger than the images: their own
    assert training_cost(tmp_path)["flops"] < training_cost(tmp_path / "whole")["flops"] / 3
    with pytest.raises(UserError, match=r"--diffusion.size 9 cannot be halved by the 2 widths; choose 10, or another"):
        train(tmp_path / "odd", side=16, size=9)


@pytest.mark.parametrize("stratified", [False, True])
def test_noise_levels_above_the_largest_strength_are_not_seen(tiny_diffusion, stratified):
    config = tiny_diffusion(stratified_levels=stratified, batch_size=50, timesteps=1000, max_strength=0.3)
    place = torch.arange(50)
    seen = torch.cat([noise_levels(config, step, place, seed=0) for step in range(100)])
    assert 0 <= int(seen.min()) < 10
    assert 290 <= int(seen.max()) < 300
    assert 145 < float(seen.float().mean()) < 155


def test_a_model_of_the_lower_noise_levels_says_so_and_draws_from_noised_images(train, tmp_path):
    train(tmp_path, max_strength=0.5)
    assert (tmp_path / "samples.png").stat().st_size > 0
    pipeline = SyntheticPositivePipeline.from_pretrained(tmp_path, sampler="dpmsolver++", clip_sample=True)
    anchors = torch.rand(2, 1, 8, 8) * 2 - 1
    assert pipeline(anchors, 1, num_inference_steps=4, strength=0.5).images.shape == (2, 1, 1, 8, 8)
    with pytest.raises(UserError, match=r"trained for strength 0\.5 at most"):
        pipeline(anchors, 1, num_inference_steps=4)
    (tmp_path / "stage.json").unlink()  # as models from elsewhere are: nothing is known of them
    assert SyntheticPositivePipeline.from_pretrained(tmp_path).max_strength == 1.0


def test_a_loss_that_is_nan_stops_before_the_weights_take_it(train, tmp_path, monkeypatch):
    monkeypatch.setenv("CLSP_FAULT", "loss:5:nan")
    with pytest.raises(NonFiniteLossError, match=r"^the loss term noise_prediction became non-finite at step 4;"):
        train(tmp_path, checkpoint_minutes=0)
    saved = load_file(tmp_path / "checkpoints/last.safetensors")
    assert saved
    assert all(bool(torch.isfinite(tensor).all()) for tensor in saved.values() if tensor.is_floating_point())
