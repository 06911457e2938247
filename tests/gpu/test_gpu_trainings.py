"""Trainings on a GPU: the numbers of the CPU, within what rounding makes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from safetensors.torch import load_file

from clsp import files
from clsp.diffusion.training import train_diffusion
from clsp.engine.fit import Callback
from clsp.methods import METHODS
from clsp.training.pretrain import pretrain
from tiny import diffusion_config, for_method, images_of, pretrain_config


def losses(folder):
    return [line["loss"] for line in files.read_jsonl(folder / "metrics.jsonl")]


def train(hardware, folder, **changes):
    pretrain(images_of(48), pretrain_config(**changes), hardware, seed=0, folder=folder)
    return losses(folder)


@pytest.mark.parametrize("method", METHODS.names())
def test_a_training_of_every_method_is_that_of_the_cpu(method, place, tmp_path):
    expected = train(place.cpu, tmp_path / "cpu", **for_method(method))
    found = train(place.hardware, tmp_path / "device", **for_method(method))
    assert found[0] == pytest.approx(expected[0], rel=1e-4, abs=1e-5)
    assert found == pytest.approx(expected, rel=2e-2, abs=2e-3)  # nine steps let the last bits grow


@pytest.mark.parametrize("method", ["simclr", "vicreg", "dino"])
def test_bf16_begins_where_32_bit_begins(method, place, tmp_path):
    exact = train(place.hardware, tmp_path / "32", **for_method(method))
    rounded = train(place.hardware, tmp_path / "bf16", **for_method(method, precision="bf16"))
    assert rounded[0] == pytest.approx(exact[0], rel=3e-2)


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(place, tmp_path, monkeypatch):
    how = {"checkpoint_minutes": 0}
    straight = train(place.hardware, tmp_path / "straight", **how)
    monkeypatch.setenv("CLSP_FAULT", "step:5:eio")
    with pytest.raises(OSError, match="Input/output"):
        train(place.hardware, tmp_path / "stopped", **how)
    monkeypatch.delenv("CLSP_FAULT")
    assert train(place.hardware, tmp_path / "stopped", **how) == pytest.approx(straight, rel=1e-4)
    one, other = (load_file(tmp_path / name / "encoder.safetensors") for name in ("straight", "stopped"))
    for name, value in one.items():
        assert value.float().sub(other[name].float()).abs().max() < 1e-3, name


def test_the_diffusion_model_learns_as_on_the_cpu(place, tmp_path):
    for name, hardware in (("cpu", place.cpu), ("device", place.hardware)):
        train_diffusion(images_of(48), diffusion_config(), hardware, seed=0, folder=tmp_path / name)
    assert losses(tmp_path / "device") == pytest.approx(losses(tmp_path / "cpu"), rel=1e-3)


class Graphs(Callback):
    """How many graphs torch.compile has made, after each step."""

    def __init__(self):
        self.counts = []

    def on_step_end(self, training, number):
        from torch._dynamo.utils import counters

        self.counts.append(counters["stats"]["unique_graphs"])
        return {}


def test_networks_are_compiled_in_the_first_epoch_and_not_again(gpu, tmp_path):
    graphs = Graphs()
    hardware = replace(gpu.hardware, compile=True)
    config = pretrain_config(epochs=4)
    pretrain(images_of(48), config, hardware, seed=0, folder=tmp_path, callbacks=[graphs])
    steps = len(graphs.counts) // 4
    assert graphs.counts[0] > 0
    assert graphs.counts[steps:] == [graphs.counts[steps - 1]] * (len(graphs.counts) - steps)
