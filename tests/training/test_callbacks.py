"""What looks on at a training is logged and changes nothing; the counting of FLOPs leaves no trace."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clsp import files
from clsp.engine.fit import Callback
from clsp.engine.hardware import HardwareConfig
from clsp.methods import METHODS
from clsp.methods.simple import SimpleSettings
from clsp.training.callbacks import OnlineCheck
from clsp.training.config import PositiveConfig
from clsp.training.pretrain import build, pretrain, training_flops
from clsp.training.step import Pretraining
from tiny import for_method

CPU = HardwareConfig(accelerator="cpu")


class Watcher(Callback):
    """Notes what it is shown."""

    def __init__(self):
        self.seen, self.ended = [], []

    def on_step(self, training, number, output):
        self.seen.append((number, output.views.ids.clone(), output.output.first.detach(), set(output.terms)))
        return {"watched": 10.0 + number}

    def on_step_end(self, training, number):
        self.ended.append((number, {name: value.clone() for name, value in training.method.encoder.named_buffers()}))
        return {"ended": float(number)} if number % 4 == 0 else {}


def test_what_callbacks_return_is_logged_and_they_see_views_embeddings_and_terms(make_images, tiny_pretrain, tmp_path):
    watcher, config = Watcher(), tiny_pretrain(log_every=2, positive=PositiveConfig(source="view"))
    pretrain(make_images(), config, CPU, seed=0, folder=tmp_path / "a", callbacks=(watcher,))
    lines = {line["step"]: line for line in files.read_jsonl(tmp_path / "a/metrics.jsonl")}
    assert [number for number, *_ in watcher.seen] == [1, 3, 5, 7]  # every second step of nine
    for number, ids, first, terms in watcher.seen:
        assert lines[number + 1]["watched"] == 10.0 + number
        assert len(set(ids.tolist())) == 16 and first.shape == (16, 8)
        assert terms == {"nt_xent", "positive"} and terms < set(lines[number + 1])
    assert [number for number, _ in watcher.ended] == list(range(1, 10))
    assert [line.get("ended") for step, line in sorted(lines.items()) if "ended" in line] == [4.0, 8.0]
    pretrain(make_images(), config, CPU, seed=0, folder=tmp_path / "b")
    one, two = (load_file(tmp_path / name / "encoder.safetensors") for name in ("a", "b"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_step_is_logged_with_the_rate_that_it_took(make_images, tiny_pretrain, tmp_path):
    rates = []

    class Rates(Callback):
        def on_step(self, training, number, output):
            rates.append(optimizers[0].param_groups[0]["lr"])
            return {}

    optimizers, config = [], tiny_pretrain(log_every=1)
    build_one = Pretraining.optimizer

    def watched(self):
        made = build_one(self)
        optimizers.append(made[0])
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pretraining, "optimizer", watched)
        pretrain(make_images(), config, CPU, seed=0, folder=tmp_path, callbacks=(Rates(),))
    lines = files.read_jsonl(tmp_path / "metrics.jsonl")
    assert [line["lr"] for line in lines] == rates and len(rates) == 9 and rates[-1] > 0


@pytest.mark.parametrize(("steps", "read"), [(90, [30, 60, 90]), (62, [30, 60, 62]), (100, [30, 60, 90, 100])])
def test_the_online_knn_is_read_after_the_last_step_also_where_a_pace_moved_it(steps, read):
    """Ten epochs of three steps at a time, however many steps there is time for."""
    knn = SimpleNamespace(accuracy=lambda *of: 1.0)
    method = SimpleNamespace(encoder=None)
    training = SimpleNamespace(steps=steps, steps_per_epoch=3, method=method, mean=None, std=None)
    check = OnlineCheck(knn, 10)
    assert [number for number in range(1, steps + 1) if check.on_step_end(training, number)] == read


@pytest.mark.parametrize("method", METHODS.names())
def test_counting_flops_leaves_every_buffer_weight_and_gradient_as_it_was(make_images, tiny_pretrain, method):
    config = tiny_pretrain(**for_method(method, positive=PositiveConfig(source="view"), epochs=1))
    training, _ = build(make_images(), config, np.arange(48), None, seed=0)
    training.to_device(torch.device("cpu"))
    training.step(0).loss.backward()
    training.after_step(0)
    training.zero_grad(set_to_none=True)
    before = {name: value.clone() for name, value in (*training.named_parameters(), *training.named_buffers())}
    assert training_flops(training) > 0
    for name, value in (*training.named_parameters(), *training.named_buffers()):
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in training.parameters())


def test_the_saved_encoders_statistics_are_those_at_the_end_of_the_training(make_images, tiny_pretrain, tmp_path):
    watcher = Watcher()
    pretrain(make_images(), tiny_pretrain(), CPU, seed=0, folder=tmp_path, callbacks=(watcher,))
    saved, (number, last) = load_file(tmp_path / "encoder.safetensors"), watcher.ended[-1]
    assert number == 9 and last
    for name, value in last.items():
        assert torch.equal(saved[name], value), name


def warnings_of(folder, capsys, images, config):
    """The warnings of a training, and the last line of its log."""
    pretrain(images, config, CPU, seed=0, folder=folder)
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    return told, files.read_jsonl(folder / "metrics.jsonl")[-1]


def test_a_collapse_is_told_once_before_a_tenth_of_the_training(make_images, tiny_pretrain, tmp_path, capsys):
    alone = for_method("simple", epochs=100, lr=0.5, log_every=5, simple=SimpleSettings(center_weight=0.0))
    (line,), last = warnings_of(tmp_path, capsys, make_images(), tiny_pretrain(**alone))
    assert "this is collapse" in line and int(line.split("step ")[1].split(":")[0]) <= 300 // 10
    assert last["center_norm"] > 0.99 and last["residual_ratio"] < 0.02


def test_what_does_not_collapse_is_not_warned_of(make_images, tiny_pretrain, tmp_path, capsys):
    config = tiny_pretrain(**for_method("vicreg", epochs=40, lr=0.01, log_every=5))
    told, last = warnings_of(tmp_path, capsys, make_images(), config)
    assert not told and last["feature_std"] > 0.3
