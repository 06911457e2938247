"""Every training's step on a GPU, as far as a machine without one can tell: nothing stays behind, and nothing waits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clsp.diffusion.training import DiffusionTraining
from clsp.engine.pixels import Pixels
from clsp.methods import METHODS
from clsp.objectives import OBJECTIVES
from clsp.positives.bank import PositiveBank
from clsp.positives.positive import Positive
from clsp.positives.sources import SOURCES, noise
from clsp.preflight.blank import blank_training
from clsp.training.config import PositiveConfig
from clsp.training.pretrain import build
from fake_gpu import walk
from tiny import diffusion_config, for_method, images_of, pretrain_config


def pretraining(images=None, **changes):
    images, config = images or images_of(48), pretrain_config(**changes)
    candidates = images.train.images.transpose(0, 2, 3, 1)[:, None]
    about = {
        "candidates": 1,
        "shape": [16, 16, 3],
        "data": images.fingerprint,
        "unet": "u",
        "anchors": 48,
        "shards": [],
    }
    made, _ = build(images, config, np.arange(48), PositiveBank(None, about, np.arange(48), [candidates]), seed=0)
    return made


@pytest.mark.parametrize("method", METHODS.names())
def test_a_step_of_every_method_neither_mixes_devices_nor_waits(method, monkeypatch):
    made = blank_training(images_of(48), 48, pretrain_config(**for_method(method)))
    assert walk(made, monkeypatch) == {}


@pytest.mark.parametrize("placement", ["third", "host"])
@pytest.mark.parametrize("source", sorted(set(SOURCES.names()) - {"nearest", "neighbour"}))
def test_a_step_of_every_source_neither_mixes_devices_nor_waits(source, placement, monkeypatch, tmp_path):
    """nearest draws as class does, from what it found once; neighbour gives embeddings, as NNCLR does."""
    if placement == "host" and not SOURCES[source].one_anchor:
        pytest.skip("stands in no second view's place")
    images, more = images_of(48), {}
    monkeypatch.setattr(noise, "matching_noise", lambda *rest: 0.1)  # it searches among values, once
    names = [f"video{number // 8}/{number % 8}" for number in range(48)]
    images.train.names[:] = names
    if source == "frames":
        images = replace(images, train=replace(images.train, labels=None))
    if source == "pairs":
        rows = [f"{names[place]},{names[place + 1]},0.5" for place in range(0, 48, 2)]
        (tmp_path / "pairs.csv").write_text("\n".join(["first,second,weight", *rows]) + "\n")
        more["pairs"] = SOURCES["pairs"](file=str(tmp_path / "pairs.csv"))
    made = pretraining(images, positive=PositiveConfig(source=source, placement=placement, **more))
    assert walk(made, monkeypatch) == {}


@pytest.mark.parametrize("objective", OBJECTIVES.names())
def test_a_step_of_every_objective_neither_mixes_devices_nor_waits(objective, monkeypatch):
    made = pretraining(positive=PositiveConfig(source="random", objective=objective))
    to_device = made.to_device

    def moved_with_weights(device):
        to_device(device)
        made.draw = lambda positions, anchors, step: Positive(anchors, weights=(positions + 1) / 48, ids=positions)

    monkeypatch.setattr(made, "to_device", moved_with_weights)
    assert walk(made, monkeypatch) == {}


@pytest.mark.parametrize("changes", [{}, {"stratified_levels": True}, {"min_snr_gamma": 5.0, "crop_scale": [0.5, 1.0]}])
def test_a_step_of_the_diffusion_model_neither_mixes_devices_nor_waits(changes, monkeypatch):
    made = DiffusionTraining(diffusion_config(**changes), Pixels(images_of(48).train.images), seed=0)
    assert walk(made, monkeypatch) == {}


def test_the_count_sees_a_copy_that_waits(monkeypatch):
    made = blank_training(images_of(48), 48, pretrain_config())
    views = made.views
    monkeypatch.setattr(made, "views", lambda *rest: (made.seen.to("cpu"), views(*rest))[1])
    monkeypatch.setattr(made, "after_step", lambda number: None)
    made.register_buffer("seen", torch.zeros(3))
    assert sum(walk(made, monkeypatch).values()) == 2
