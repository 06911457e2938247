"""Witnesses: each alarm by making what it warns of happen, and silence where nothing is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsp import files
from clsp.encoders.memory import Memory
from clsp.engine.ema import EMA
from clsp.engine.hardware import HardwareConfig
from clsp.methods import METHODS
from clsp.methods.dino import Center
from clsp.training import witnesses
from clsp.training.pretrain import pretrain
from clsp.training.witnesses import likeness, spread
from tiny import for_method

CPU = HardwareConfig(accelerator="cpu")


@pytest.fixture
def train(make_images, tiny_pretrain, tmp_path, capfd):
    def run(method, **changes):
        pretrain(make_images(), tiny_pretrain(**for_method(method, **changes)), CPU, seed=0, folder=tmp_path)
        return capfd.readouterr().err, files.read_jsonl(tmp_path / "metrics.jsonl")

    return run


@pytest.mark.parametrize("method", ["byol", "dino", "moco", "simclr", "swav"])
def test_a_sound_training_logs_its_witnesses_and_says_nothing(train, method):
    said, lines = train(method)
    assert "warning" not in said
    own = {"teacher_lag", "teacher_std"} if method in ("byol", "dino", "moco") else set()
    own |= {"memory_filled"} if method in ("moco", "swav") else set()
    own |= {"center_length"} if method == "dino" else set()
    every = {"teacher_lag", "teacher_std", "memory_filled", "center_length"}
    assert all(own == every & set(line) for line in lines)
    if "teacher_lag" in own:
        assert all(line["teacher_lag"] > 0 for line in lines[1:])


def test_a_teacher_that_stands_still_is_told_once(train, monkeypatch):
    monkeypatch.setattr(EMA, "update", lambda self, decay: None)
    said, _ = train("byol")
    assert said.count("the moving copy 'target' has not moved since the last logged step") == 1


def test_a_teacher_that_is_meant_to_stand_still_is_not(train):
    said, _ = train("byol", byol=METHODS["byol"].Settings(momentum=[1.0, 1.0]))
    assert "has not moved" not in said


def test_a_teacher_whose_outputs_are_constant_is_told(train, monkeypatch):
    monkeypatch.setattr(witnesses, "_SETTLED", 0)
    monkeypatch.setattr(witnesses, "_encoded", lambda network, images: torch.ones(len(images), 8))
    assert train("byol")[0].count("gives all images the same output") == 1


@pytest.mark.parametrize(
    ("method", "kind", "text"),
    [("moco", Memory, "has taken no batch since"), ("dino", Center, "the centre 'center' has not moved")],
)
def test_memories_and_centres_that_take_nothing_are_told(train, monkeypatch, method, kind, text):
    monkeypatch.setattr(kind, "flush", lambda self: None)
    assert text in train(method)[0]


def test_candidates_that_are_one_image_or_the_anchor_are_counted():
    rng = np.random.default_rng(0)
    anchors = rng.integers(0, 256, (4, 3, 4, 4), dtype=np.uint8)
    candidates = rng.integers(0, 256, (4, 2, 3, 4, 4), dtype=np.uint8)
    assert likeness(candidates, anchors) == (0.0, 0.0)
    candidates[1, 1] = candidates[1, 0]
    candidates[2, 0] = anchors[2]
    candidates[3, 1] = anchors[3]
    assert likeness(candidates, anchors) == (0.25, 0.5)
    assert likeness(candidates[:, :1], anchors) == (0.0, 0.25)


def test_the_spread_of_outputs_is_1_on_a_full_sphere_and_0_where_all_are_alike():
    assert spread(torch.randn(500, 16)) == pytest.approx(1.0, abs=0.05)
    assert spread(torch.ones(20, 16)) == pytest.approx(0.0, abs=1e-6)
