"""The one training loop: resume, faults, controls, and what each step sees."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from clsp.engine.trainer import NonFiniteLossError
from clsp.methods.config import NAMES
from clsp.methods.registry import build_method
from clsp.positives.registry import Material
from clsp.training.module import Pretraining, TrainingData
from safetensors.torch import load_file

from clsp import files
from clsp.engine.batches import Batches
from clsp.engine.hardware import HardwareConfig
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.images.config import AugmentConfig
from clsp.images.imageset import Images, Split
from clsp.objectives.alignment import alignment
from clsp.training.pretrain import pretrain
from tiny import for_method

CPU = HardwareConfig(accelerator="cpu")


@pytest.fixture
def train(make_images, tiny_pretrain):
    def run(folder, *, positives="none", seed=0, **changes):
        return pretrain(make_images(), tiny_pretrain(**changes), CPU, seed=seed, folder=folder, positives=positives)

    return run


def weights(folder):
    return load_file(folder / "encoder.safetensors")


def different(first, second):
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.mark.parametrize("method", [*NAMES, "swav with local crops", "dino with local crops"])
def test_a_run_that_was_killed_and_resumed_is_the_run_that_was_not(train, tmp_path, monkeypatch, method):
    method, _, local = method.partition(" with ")
    augment = AugmentConfig(local_crops=2 if local else 0)
    settings = for_method(method, positives="view", augment=augment)
    train(tmp_path / "straight", **settings)
    monkeypatch.setenv("CLSP_FAULT", "step:5:eio")
    with pytest.raises(OSError, match="Input/output"):
        train(tmp_path / "killed", **settings, checkpoint_minutes=0)
    monkeypatch.delenv("CLSP_FAULT")
    train(tmp_path / "killed", **settings, checkpoint_minutes=0)
    assert different(weights(tmp_path / "straight"), weights(tmp_path / "killed")) == []
    straight, killed = (load_file(tmp_path / name / "checkpoints/last.safetensors") for name in ("straight", "killed"))
    tensors = [
        sorted(t.flatten().double().nan_to_num().tolist() for t in state.values()) for state in (straight, killed)
    ]
    assert tensors[0] == tensors[1]  # optimiser, momentum network and memories as well
    logged = [files.read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("straight", "killed")]
    by_step = [{line["step"]: line["loss"] for line in lines if "loss" in line} for lines in logged]
    assert all(by_step[0][step] == loss for step, loss in by_step[1].items())
    assert len(by_step[1]) >= 8


CHILD = """
import sys
sys.path.insert(0, {tests!r})
import conftest
from pathlib import Path
from clsp.engine.hardware import HardwareConfig
from clsp.training.pretrain import pretrain
config = conftest.pretrain_config(method="moco", checkpoint_minutes=0)
pretrain(conftest.images_of(), config, HardwareConfig(accelerator="cpu"), seed=0, folder=Path({folder!r}))
"""


def test_a_sigkill_costs_nothing_but_the_steps_since_the_checkpoint(train, tmp_path, request):
    tests = str(request.config.rootpath / "tests")
    script = CHILD.format(tests=tests, folder=str(tmp_path / "killed"))
    environment = {**os.environ, "CLSP_FAULT": "step:7:kill", "OMP_NUM_THREADS": "1"}
    child = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert not (tmp_path / "killed/encoder.safetensors").exists()
    assert files.read_json(tmp_path / "killed/stage.json")["status"] == "running"
    train(tmp_path / "killed", method="moco", checkpoint_minutes=0)
    train(tmp_path / "straight", method="moco")
    assert different(weights(tmp_path / "straight"), weights(tmp_path / "killed")) == []


def test_a_nan_stops_naming_the_term_and_leaves_a_finite_checkpoint(train, tmp_path, monkeypatch):
    monkeypatch.setenv("CLSP_FAULT", "loss:3:nan")
    with pytest.raises(NonFiniteLossError, match=r"nt_xent and positive .*step 2"):
        train(tmp_path, positives="view", checkpoint_minutes=0)
    saved = load_file(tmp_path / "checkpoints/last.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in saved.values() if tensor.is_floating_point())
    monkeypatch.delenv("CLSP_FAULT")
    assert train(tmp_path, positives="view").finished


def test_another_seed_is_another_encoder_and_the_same_seed_the_same(train, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tmp_path / name, seed=seed, epochs=1)
    assert different(weights(tmp_path / "a"), weights(tmp_path / "b")) == []
    assert different(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_logging_and_diagnosis_do_not_change_the_result(train, tmp_path):
    train(tmp_path / "a", epochs=1, log_every=1, knn_every=1)
    train(tmp_path / "b", epochs=1, log_every=100, knn_every=0)
    assert different(weights(tmp_path / "a"), weights(tmp_path / "b")) == []
    assert "knn" in files.read_jsonl(tmp_path / "a/metrics.jsonl")[-1]


def test_too_few_images_are_refused(train, make_images, tiny_pretrain, tmp_path):
    with pytest.raises(UserError, match="batch_size 64 is larger than the 48 images; choose at most 48"):
        train(tmp_path / "a", batch_size=64)
    with pytest.raises(UserError, match="1 image to train on"):
        pretrain(make_images(1, None), tiny_pretrain(), CPU, seed=0, folder=tmp_path / "b")
    with pytest.raises(UserError, match="need a bank"):
        train(tmp_path / "c", positives="bank")
    assert not (tmp_path / "c").exists()


@pytest.fixture
def module(make_images, tiny_pretrain):
    def make(positives="view", **changes):
        images, config = make_images(), tiny_pretrain(**changes)
        torch.manual_seed(0)
        encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 10))
        encoder.num_features = 10
        ids = np.arange(0, 48, 2)
        data = TrainingData(
            material=Material(Pixels(images.train.images, ids), ids, None, images.train.images, images.train.names),
            positives=positives, mean=torch.full((3,), 0.4), std=torch.full((3,), 0.2), anchors=len(ids),
        )  # fmt: skip
        made = Pretraining(build_method(encoder, config, seed=0), data, config, seed=0, knn=None)
        made.on_fit_start()
        return made

    return make


def test_a_view_does_not_depend_on_what_else_is_in_the_batch(module):
    large, small = module(batch_size=16), module(batch_size=8)
    place = {int(i): row for row, i in enumerate(large.views_of(0).ids)}
    views, others = large.views_of(0), small.views_of(0)
    common = [(place[int(i)], row) for row, i in enumerate(others.ids) if int(i) in place]
    assert len(common) == 8
    for name in ("first", "second", "positive"):
        for a, b in common:
            torch.testing.assert_close(getattr(views, name)[a], getattr(others, name)[b], rtol=0, atol=1e-5)


def test_the_views_of_an_anchor_differ_and_carry_its_dataset_index(module):
    views = module().views_of(3)
    assert set(views.ids.tolist()) <= set(range(0, 48, 2))
    assert len(set(views.ids.tolist())) == len(views.ids)
    for one, two in ((views.first, views.second), (views.first, views.positive), (views.second, views.positive)):
        assert float((one - two).abs().flatten(1).max(dim=1).values.min()) > 0.1
    assert not torch.equal(views.first, module().views_of(4).first)
    assert module("none").views_of(0).positive is None


def test_with_the_hosts_objective_the_positive_takes_the_second_views_place(module):
    """For lambda / (1 + lambda) of the anchors, by the image and the step; the rest sees what the method alone sees."""
    alone, mixed, replaced = (
        module("none"),
        *(module("random", positive_objective="host", positive_weight=w) for w in (1, 1e9)),
    )
    shares = []
    for step in range(40):
        views, real, other = mixed.views_of(step), alone.views_of(step), replaced.views_of(step)
        assert views.positive is None and torch.equal(views.first, real.first)
        is_real, is_other = ((views.second == side.second).flatten(1).all(dim=1) for side in (real, other))
        assert torch.equal(is_real, ~is_other)
        shares.append(float(is_other.float().mean()))
    assert len(set(shares)) > 2
    assert sum(shares) / 40 == pytest.approx(0.5, abs=0.06)  # 40 steps of 16: three standard deviations
    assert torch.equal(
        module("random", positive_objective="host", positive_weight=0.0).views_of(3).second, alone.views_of(3).second
    )


def test_a_positive_in_place_costs_what_the_method_costs(train, tmp_path):
    """Its step has two views, and a real view in place is the method alone to the bit."""
    made = {
        name: train(tmp_path / name, positives=name, positive_objective="host", epochs=1)
        for name in ("none", "view", "random")
    }
    assert different(weights(tmp_path / "none"), weights(tmp_path / "view")) == []
    assert different(weights(tmp_path / "none"), weights(tmp_path / "random"))
    assert len({stage.facts["flops"] for stage in made.values()}) == 1


def test_identity_source_is_the_host_plus_lambda_alignment_of_views_1_and_3(module, monkeypatch):
    made = module(positive_weight=0.7)
    monkeypatch.setattr(type(made), "global_step", 0)
    logged = {}
    made.log_dict = lambda values: logged.update(values)
    loss = made.training_step(None)
    views = made.views_of(0)
    z1, z3 = (made.method.projector(made.method.encoder(x)) for x in (views.first, views.positive))
    host = module("none", positive_weight=0.7)
    host.log_dict = lambda values: None
    expected = host.training_step(None) + 0.7 * alignment(z1, z3)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logged["positive"], 0.7 * alignment(z1, z3).detach())


def test_weight_0_has_the_hosts_gradient(module, monkeypatch):
    gradients = []
    for made in (module(positive_weight=0.0), module("none")):
        monkeypatch.setattr(type(made), "global_step", 0)
        made.log_dict = lambda values: None
        made.training_step(None).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in made.method.parameters()]))
    torch.testing.assert_close(*gradients)
    assert float(gradients[0].abs().max()) > 1e-4


def test_learning_rate_warms_up_and_ends_near_0(train, tmp_path):
    train(tmp_path, epochs=4, warmup_epochs=1)
    rates = [line["lr"] for line in files.read_jsonl(tmp_path / "metrics.jsonl") if "lr" in line]
    assert len(rates) == 12
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == pytest.approx(0.1)
    assert rates[-1] < 0.01


def test_constant_images_train_without_nan(tiny_pretrain, tmp_path):
    flat = Split(images=np.zeros((20, 1, 16, 16), np.uint8), names=[str(i) for i in range(20)])
    made = pretrain(
        Images(source="black", train=flat), tiny_pretrain(epochs=1), CPU, seed=0, folder=tmp_path, positives="view"
    )
    assert made.finished
    assert all(bool(torch.isfinite(t).all()) for t in weights(tmp_path).values() if t.is_floating_point())


def test_all_batches_of_an_epoch_are_seen(module):
    made = module(batch_size=8)
    seen = torch.cat([made.views_of(step).ids for step in range(made.batches.steps_per_epoch)])
    assert sorted(seen.tolist()) == list(range(0, 48, 2))
    assert made.total_steps == 3 * made.config.epochs
    assert isinstance(made.batches, Batches)
    assert math.isclose(made.views_of(made.total_steps - 1).done, 1 - 1 / made.total_steps)


def test_settings_that_change_nothing_may_change_between_resumes(train, tmp_path, tiny_pretrain):
    train(tmp_path, epochs=1)
    assert train(tmp_path, epochs=1, log_every=3, checkpoint_minutes=1.0).finished
    with pytest.raises(UserError, match=r"lr 0.1 -> 0.2"):
        train(tmp_path, epochs=1, lr=0.2)
    assert dataclasses.asdict(tiny_pretrain())["lr"] == 0.1
