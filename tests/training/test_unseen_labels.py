"""Labels of images that are tested on are seen by no training, also where it sees labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import clsp
from clsp import files
from clsp.engine.hardware import HardwareConfig
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.task import set_apart
from clsp.training.config import PositiveConfig
from clsp.training.pretrain import build, pretrain
from tiny import images_of, pretrain_config


@pytest.fixture
def unparted(tmp_path):
    """Labelled images without a test part."""
    images = images_of(60, None, channels=1)
    np.savez(tmp_path / "data.npz", images=images.train.images[:, 0], labels=images.train.labels)
    return tmp_path / "data.npz"


def test_supcon_and_the_source_class_are_shown_other_labels_alone():
    images, unseen = images_of(48), np.arange(0, 48, 5)
    training, _ = build(images, pretrain_config(method="supcon"), np.arange(48), None, seed=0, unseen=unseen)
    views = training.views(0)
    known = torch.from_numpy(images.train.labels)[views.ids]
    apart = torch.isin(views.ids, torch.from_numpy(unseen))
    assert apart.any() and bool((views.labels[apart] == -1).all())
    assert torch.equal(views.labels[~apart], known[~apart])
    config = pretrain_config(positive=PositiveConfig(source="class"), batch_size=48)
    training, _ = build(images, config, np.arange(48), None, seed=0, unseen=unseen)
    training.to_device(torch.device("cpu"))
    pixels = torch.from_numpy(images.train.images)
    drawn = training.draw(torch.arange(48), pixels, 0).images
    places = [int((pixels == image).flatten(1).all(dim=1).nonzero()[0, 0]) for image in drawn]
    assert [places[row] for row in unseen] == unseen.tolist()
    assert set(unseen).isdisjoint(place for row, place in enumerate(places) if row not in unseen)
    assert (images.train.labels[0::5] >= 0).all()  # the data keep theirs


def test_what_sees_no_labels_is_the_same_training_whatever_is_tested_on(tmp_path):
    cpu, unseen = HardwareConfig(accelerator="cpu"), np.arange(5)
    for method, told in (("simclr", False), ("supcon", True)):
        config = pretrain_config(method=method, epochs=1)
        pretrain(images_of(), config, cpu, seed=0, folder=tmp_path / method, unseen=unseen)
        assert ("unseen" in files.read_json(tmp_path / method / "stage.json")["settings"]) == told


def test_commands_hide_the_labels_that_they_will_test_on(unparted, tmp_path):
    settings = {"pretrain.epochs": 1, "pretrain.method": "supcon", "pretrain.images": 40}
    clsp.pretrain(str(unparted), tmp_path / "enc", recipe="smoke", settings=settings)
    clsp.compare(str(unparted), tmp_path / "study", methods="supcon", recipe="smoke", settings={"pretrain.epochs": 1})
    hidden = [
        files.read_json(folder / "stage.json")["settings"]["unseen"]
        for folder in (tmp_path / "enc", tmp_path / "study/arms/supcon/seed-0")
    ]
    apart = set_apart(images_of(60, None, channels=1), EvaluateConfig(), seed=0)
    assert len(apart) == 12 and hidden == [files.fingerprint(apart.tolist())] * 2
