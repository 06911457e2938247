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
from safetensors.torch import load_file

from clsp import files
from clsp.engine.batches import Batches
from clsp.engine.fit import NonFiniteLossError
from clsp.engine.hardware import HardwareConfig
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.images.config import AugmentConfig
from clsp.images.imageset import Images, Split
from clsp.methods import METHODS
from clsp.objectives.alignment import alignment
from clsp.positives.placement import Host, Third
from clsp.positives.source import Material
from clsp.positives.sources.neighbour import Neighbour
from clsp.training.config import PositiveConfig
from clsp.training.pretrain import pretrain
from clsp.training.step import Pretraining
from tiny import for_method

CPU = HardwareConfig(accelerator="cpu")


@pytest.fixture
def train(make_images, tiny_pretrain):
    def run(folder, *, source=None, placement="third", seed=0, callbacks=(), **changes):
        positive = PositiveConfig(source=source, placement=placement, neighbour=Neighbour(memory=20))
        config = tiny_pretrain(positive=positive, **changes)
        return pretrain(make_images(), config, CPU, seed=seed, folder=folder, callbacks=callbacks)

    return run


def weights(folder):
    return load_file(folder / "encoder.safetensors")


def different(first, second):
    return [name for name in first if not torch.equal(first[name], second[name])]


LOCAL = [f"{name} with local crops" for name, made in METHODS.items() if made.multi_crop]
NEIGHBOURS = [
    f"{name} with {placement} neighbours"
    for name, made in METHODS.items()
    if made.takes_neighbours
    for placement in ("third", "host")
]


@pytest.mark.parametrize("method", [*METHODS.names(), *LOCAL, *NEIGHBOURS])
def test_a_run_that_was_killed_and_resumed_is_the_run_that_was_not(train, tmp_path, monkeypatch, method):
    method, _, more = method.partition(" with ")
    augment = AugmentConfig(local_crops=2 if more == "local crops" else 0)
    settings = for_method(method, source="view", augment=augment)
    if "neighbours" in more:
        settings |= {"source": "neighbour", "placement": more.split()[0]}
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
from clsp.engine.fit import NonFiniteLossError
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
        train(tmp_path, source="view", checkpoint_minutes=0)
    saved = load_file(tmp_path / "checkpoints/last.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in saved.values() if tensor.is_floating_point())
    monkeypatch.delenv("CLSP_FAULT")
    assert train(tmp_path, source="view").finished


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
    with pytest.raises(UserError, match="needs a bank"):
        train(tmp_path / "c", source="bank")
    assert not (tmp_path / "c").exists()


@pytest.fixture
def training(make_images, tiny_pretrain):
    def make(source="view", placement="third", odds=1.0, weight=1.0, **changes):
        positive = PositiveConfig(
            source=source, placement=placement, host=Host(odds=odds), third=Third(weight=weight),
            neighbour=Neighbour(memory=20),
        )  # fmt: skip
        images, config = make_images(), tiny_pretrain(positive=positive, **changes)
        torch.manual_seed(0)
        encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 10))
        encoder.num_features = 10
        ids = np.arange(0, 48, 2)
        material = Material(
            Pixels(images.train.images, ids), ids, images.train.labels[ids], images.train.images, images.train.names
        )
        method = METHODS[config.method](encoder, config.heads, config.own, seed=0)
        if source == "neighbour":
            host = positive.host if placement == "host" else None
            method.neighbour = positive.chosen.search(8, seed=0, host=host)
        statistics = torch.full((3,), 0.4), torch.full((3,), 0.2)
        made = Pretraining(method, config, material, len(ids), *statistics, seed=0)
        made.to_device(torch.device("cpu"))
        return made

    return make


def test_a_view_does_not_depend_on_what_else_is_in_the_batch(training):
    large, small = training(batch_size=16), training(batch_size=8)
    place = {int(i): row for row, i in enumerate(large.views(0).ids)}
    views, others = large.views(0), small.views(0)
    common = [(place[int(i)], row) for row, i in enumerate(others.ids) if int(i) in place]
    assert len(common) == 8
    for name in ("first", "second", "positive"):
        for a, b in common:
            torch.testing.assert_close(getattr(views, name)[a], getattr(others, name)[b], rtol=0, atol=1e-5)


def test_the_views_of_an_anchor_differ_and_carry_its_dataset_index(training):
    views = training().views(3)
    assert set(views.ids.tolist()) <= set(range(0, 48, 2))
    assert len(set(views.ids.tolist())) == len(views.ids)
    for one, two in ((views.first, views.second), (views.first, views.positive), (views.second, views.positive)):
        assert float((one - two).abs().flatten(1).max(dim=1).values.min()) > 0.1
    assert not torch.equal(views.first, training().views(4).first)
    assert training(None).views(0).positive is None


def test_with_the_hosts_objective_the_positive_takes_the_second_views_place(training):
    """For odds / (1 + odds) of the anchors, by the image and the step; the rest sees what the method alone sees."""
    alone, mixed, replaced = (
        training(None),
        *(training("random", "host", odds=odds) for odds in (1, 1e9)),
    )
    shares = []
    for step in range(40):
        views, real, other = mixed.views(step), alone.views(step), replaced.views(step)
        assert views.positive is None and torch.equal(views.first, real.first)
        is_real, is_other = ((views.second == side.second).flatten(1).all(dim=1) for side in (real, other))
        assert torch.equal(is_real, ~is_other)
        shares.append(float(is_other.float().mean()))
    assert len(set(shares)) > 2
    assert sum(shares) / 40 == pytest.approx(0.5, abs=0.06)  # 40 steps of 16: three standard deviations
    assert torch.equal(training("random", "host", odds=0.0).views(3).second, alone.views(3).second)


def test_a_positive_in_place_costs_what_the_method_costs(train, tmp_path):
    """Its step has two views, and a real view in place is the method alone to the bit."""
    made = {
        str(name): train(tmp_path / str(name), source=name, placement="host", epochs=1)
        for name in (None, "view", "random")
    }
    assert different(weights(tmp_path / "None"), weights(tmp_path / "view")) == []
    assert different(weights(tmp_path / "None"), weights(tmp_path / "random"))
    assert len({stage.facts["flops"] for stage in made.values()}) == 1


def test_identity_source_is_the_host_plus_lambda_alignment_of_views_1_and_3(training):
    made = training(weight=0.7)
    found = made.step(0)
    z1, z3 = (made.method.network(x) for x in (found.views.first, found.views.positive))
    torch.testing.assert_close(found.loss, training(None).step(0).loss + 0.7 * alignment(z1, z3))
    torch.testing.assert_close(found.terms["positive"], 0.7 * alignment(z1, z3))
    assert torch.equal(made(0), found.loss)


def test_weight_0_has_the_hosts_gradient(training):
    gradients = []
    for made in (training(weight=0.0), training(None)):
        made(0).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in made.method.parameters()]))
    torch.testing.assert_close(*gradients)
    assert float(gradients[0].abs().max()) > 1e-4


@pytest.mark.parametrize("method", [name for name in METHODS.names() if not METHODS[name].patches])
def test_labels_are_hidden_from_every_method_that_does_not_say_that_it_sees_them(training, method):
    views = training(method=method).views(0)
    if METHODS[method].sees_labels:
        assert views.labels.tolist() == [i % 3 for i in views.ids.tolist()]
    else:
        assert views.labels is None


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
        Images(source="black", train=flat),
        tiny_pretrain(epochs=1, positive=PositiveConfig(source="view")),
        CPU,
        seed=0,
        folder=tmp_path,
    )
    assert made.finished
    assert all(bool(torch.isfinite(t).all()) for t in weights(tmp_path).values() if t.is_floating_point())


def test_all_batches_of_an_epoch_are_seen(training):
    made = training(batch_size=8)
    seen = torch.cat([made.views(step).ids for step in range(made.batches.steps_per_epoch)])
    assert sorted(seen.tolist()) == list(range(0, 48, 2))
    assert made.steps == 3 * made.config.epochs
    assert isinstance(made.batches, Batches)
    assert math.isclose(made.views(made.steps - 1).progress, 1 - 1 / made.steps)


def test_settings_that_change_nothing_may_change_between_resumes(train, tmp_path, tiny_pretrain):
    train(tmp_path, epochs=1)
    assert train(tmp_path, epochs=1, log_every=3, checkpoint_minutes=1.0).finished
    with pytest.raises(UserError, match=r"lr 0.1 -> 0.2"):
        train(tmp_path, epochs=1, lr=0.2)
    assert dataclasses.asdict(tiny_pretrain())["lr"] == 0.1
