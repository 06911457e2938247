"""Compiled networks: the same files, the same numbers, in all three stages that compute with networks."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clsp.diffusion.training import train_diffusion
from clsp.engine import hardware
from clsp.engine.hardware import HardwareConfig
from clsp.errors import UserError
from clsp.positives.config import SynthesizeConfig
from clsp.positives.synthesize import synthesize
from clsp.training.pretrain import pretrain
from tiny import for_method

PLAIN = HardwareConfig(accelerator="cpu")
COMPILED = HardwareConfig(accelerator="cpu", compile=True)


@pytest.fixture
def graphs(monkeypatch):
    """Count the graphs that dynamo captures, and run them as they are: fast, and without a C++ compiler."""
    captured = []

    def run_as_it_is(graph, inputs):
        captured.append(graph)
        return graph.forward

    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module, **options: compile_module(module, backend=run_as_it_is, **options)
    )
    monkeypatch.setattr(hardware.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)  # or pytest keeps every line of it
    torch.compiler.reset()
    yield captured
    torch.compiler.reset()


def close(first, second):
    first, second = load_file(first), load_file(second)
    assert list(first) == list(second)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["moco", "aps"])
def test_an_encoder_and_its_momentum_network_are_the_same(make_images, tiny_pretrain, tmp_path, graphs, method):
    config = tiny_pretrain(**for_method(method, epochs=1, knn_every=0))
    for name, choice in (("plain", PLAIN), ("compiled", COMPILED)):
        assert not graphs
        pretrain(make_images(), config, choice, seed=0, folder=tmp_path / name)
    assert graphs
    close(tmp_path / "plain/encoder.safetensors", tmp_path / "compiled/encoder.safetensors")


def test_a_diffusion_model_and_its_candidates_are_the_same(make_images, tiny_diffusion, tmp_path, graphs):
    images = make_images(20, None, channels=1, size=8)
    for name, choice in (("plain", PLAIN), ("compiled", COMPILED)):
        assert not graphs
        train_diffusion(images, tiny_diffusion(steps=1), choice, seed=0, folder=tmp_path / name)
    assert graphs
    weights = "unet/diffusion_pytorch_model.safetensors"
    close(tmp_path / "plain" / weights, tmp_path / "compiled" / weights)

    config = SynthesizeConfig(anchors=4, candidates=2, steps=2, clip_sample=True, batch_size=8)
    graphs.clear()
    banks = []
    for name, choice in (("plain bank", PLAIN), ("compiled bank", COMPILED)):
        assert not graphs
        banks.append(synthesize(images, tmp_path / "plain", config, choice, seed=0, folder=tmp_path / name))
    assert graphs
    first, second = (bank.array(np.arange(4)) for bank in banks)
    assert np.abs(first.astype(int) - second.astype(int)).max() <= 1  # the last bit of a pixel may round apart


def test_a_missing_compiler_is_said_before_the_training(make_images, tiny_pretrain, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"hardware.compile needs a C\+\+ compiler"):
        pretrain(make_images(), tiny_pretrain(), COMPILED, seed=0, folder=tmp_path)
