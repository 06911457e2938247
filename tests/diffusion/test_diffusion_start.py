"""A diffusion model goes on from the weights of another one."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file

from clsp import files
from clsp.diffusion.training import train_diffusion
from clsp.engine.hardware import HardwareConfig
from clsp.errors import UserError
from clsp.positives.cost import training_cost

CPU = HardwareConfig(accelerator="cpu")
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def train(make_images, tiny_diffusion):
    def run(folder, seed=0, **changes):
        images = make_images(20, None, channels=1, size=8)
        return train_diffusion(images, tiny_diffusion(**changes), CPU, seed=seed, folder=folder)

    return run


def test_a_training_starts_from_weights_and_names_them_by_their_content(train, tmp_path):
    first = train(tmp_path / "run/diffusion")
    still = {"steps": 1, "lr": 1e-12, "warmup_steps": 0}
    second = train(tmp_path / "b", seed=7, weights=str(tmp_path / "run"), **still)  # a run stands for its model
    before, after = (load_file(tmp_path / name / WEIGHTS) for name in ("run/diffusion", "b"))
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    assert second.settings["weights"] == first.facts["unet"]
    (tmp_path / "run").rename(tmp_path / "moved")
    again = train(tmp_path / "b", seed=7, weights=str(tmp_path / "moved/diffusion"), **still)
    assert again.facts == second.facts  # the same weights, elsewhere
    with pytest.raises(UserError, match="made with other settings"):
        train(tmp_path / "b", seed=7, **still)


def test_the_cost_of_what_it_started_from_counts(train, tmp_path):
    train(tmp_path / "a")
    train(tmp_path / "b", weights=str(tmp_path / "a"), steps=3)
    train(tmp_path / "c", weights=str(tmp_path / "b"), steps=2)
    flops = {name: training_cost(tmp_path / name)["flops"] for name in "abc"}
    assert flops["b"] == pytest.approx(flops["a"] * 9 / 6)
    assert flops["c"] == pytest.approx(flops["a"] * 11 / 6)
    assert training_cost(tmp_path / "c")["seconds"] >= training_cost(tmp_path / "a")["seconds"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"widths": [8, 8]}, r"widths \[8, 16\] there, \[8, 8\] here"),
        ({"attention": []}, r"down_block_types"),
        ({"prediction_type": "v_prediction"}, "prediction_type epsilon there, v_prediction here"),
        ({"timesteps": 50}, "num_train_timesteps 100 there, 50 here"),
    ],
)
def test_weights_of_another_kind_of_model_are_refused(train, tmp_path, changes, said):
    train(tmp_path / "a")
    with pytest.raises(UserError, match=rf"--diffusion.weights .*{said}"):
        train(tmp_path / "b", weights=str(tmp_path / "a"), **changes)


@pytest.mark.parametrize(
    ("file", "name", "value", "said"),
    [
        ("unet/config.json", "flip_sin_to_cos", False, "flip_sin_to_cos False there, True here"),
        ("unet/config.json", "freq_shift", 1, "freq_shift 1 there, 0 here"),
        ("unet/config.json", "act_fn", "relu", "act_fn relu there, silu here"),
        ("unet/config.json", "center_input_sample", True, "center_input_sample True there, False here"),
        (
            "scheduler/scheduler_config.json",
            "beta_schedule",
            "sigmoid",
            "trained_betas of 100 numbers there, None here",
        ),
    ],
)
def test_weights_of_another_function_of_the_same_shapes_are_refused(train, tmp_path, file, name, value, said):
    """google/ddpm-cifar10-32 has the shapes of the recipe cifar10, and another embedding of the time step."""
    train(tmp_path / "a")
    (tmp_path / "a/stage.json").unlink()
    path = tmp_path / "a" / file
    files.write_json(path, files.read_json(path) | {name: value})
    with pytest.raises(UserError, match=rf"--diffusion.weights .*{said}"):
        train(tmp_path / "b", weights=str(tmp_path / "a"))


def test_a_finished_model_needs_the_weights_no_more(train, tmp_path):
    train(tmp_path / "a")
    first = train(tmp_path / "b", weights=str(tmp_path / "a"), steps=1)
    shutil.rmtree(tmp_path / "a")
    assert train(tmp_path / "b", weights=str(tmp_path / "a"), steps=1).facts == first.facts
    with pytest.raises(UserError, match="no diffusers folder"):
        train(tmp_path / "c", weights=str(tmp_path / "a"), steps=1)


def test_weights_that_are_not_there_are_refused(train, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"--diffusion.weights .*no diffusers folder"):
        train(tmp_path / "b", weights=str(tmp_path / "empty"))
    train(tmp_path / "a")
    path = tmp_path / "a/stage.json"
    record = files.read_json(path)
    path.write_text("{" + str(record))
    with pytest.raises(UserError, match=r"stage\.json"):
        train(tmp_path / "b", weights=str(tmp_path / "a"))
