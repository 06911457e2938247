"""A task's images stay where they lie: memory does not grow with their number, and the numbers are those of copies."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from measuring import measured

from clsp import files
from clsp.encoders.export import read_spec
from clsp.encoders.features import encode_images
from clsp.evaluation.classifier import fit_classifier
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.look import draw_neighbours
from clsp.evaluation.task import make_task
from clsp.images.imageset import Images, Split

CONFIG = EvaluateConfig(
    regularisation=[1.0],
    neighbours=[1, 5],
    temperatures=[0.07],
    label_fractions=[0.25],
    label_draws=1,
    fine_tune_epochs=4,
)
SOME = dataclasses.replace(CONFIG, train_images=50, validation_images=20)


class Mean(torch.nn.Module):
    """The mean colour."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x.mean(dim=(2, 3)) * self.scale


def mapped(images, folder):
    """The same images, read from files."""

    def split(name, part):
        np.save(folder / f"{name}.npy", part.images)
        return dataclasses.replace(part, images=files.read_array(folder / f"{name}.npy", mapped=True))

    return dataclasses.replace(images, train=split("train", images.train), test=split("test", images.test))


def copied(split):
    return dataclasses.replace(split, images=np.array(split.images))


def test_a_part_that_is_used_whole_is_the_sources_own(make_images, tmp_path):
    images = mapped(make_images(), tmp_path)
    task = make_task(images, CONFIG, seed=0)
    assert task.train is images.train
    assert task.test is images.test
    bare = dataclasses.replace(images, train=dataclasses.replace(images.train, labels=None))
    assert make_task(bare, CONFIG, seed=0).train is bare.train


@pytest.mark.parametrize("config", [CONFIG, SOME])
def test_the_numbers_are_those_of_copies(encoder, make_images, tmp_path, config):
    task = make_task(mapped(make_images(120, 60), tmp_path), config, seed=0)
    copy = dataclasses.replace(task, train=copied(task.train), test=copied(task.test))
    (found, ours), (expected, theirs) = (measured(encoder, some, config) for some in (task, copy))
    assert torch.equal(ours.test, theirs.test)
    assert found.record() == expected.record()
    for name, some in (("found", task), ("expected", copy)):
        draw_neighbours(ours.test, some, tmp_path / name, seed=0)
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()


def test_a_classifier_learns_the_same_from_rows_as_from_a_copy(encoder, make_images):
    train, spec, weights = make_images().train, read_spec(encoder), []
    rows = np.arange(0, 48, 2)
    for images in (files.Rows(train.images, rows), train.images[rows]):
        torch.manual_seed(0)
        model = torch.nn.Sequential(Mean(), torch.nn.Linear(3, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        fit_classifier(
            model, images, train.labels[rows], spec, optimizer, steps=5, batch_size=8, seed=0, title="test"
        )  # fmt: skip
        weights.append(model[1].weight.detach())
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    "config", [EvaluateConfig(), EvaluateConfig(train_images=3900), EvaluateConfig(test_fraction=0.5)]
)
def test_a_mapped_train_part_is_not_copied(tmp_path, config):
    path, labels = tmp_path / "images.npy", np.arange(4000) % 2
    whole = np.zeros((4000, 3, 64, 64), dtype=np.uint8)
    whole[:, 0, 0, 0] = labels
    np.save(path, whole)
    array = files.read_array(path, mapped=True)
    names = [str(number) for number in range(4000)]
    test = Split(images=whole[:10], names=names[:10], labels=labels[:10])
    test = None if config.test_fraction == 0.5 else test  # half of train is rated then
    images = Images(source="made", train=Split(images=array, names=names, labels=labels), test=test)
    network, mean = Mean(), torch.zeros(3)
    tracemalloc.start()
    task = make_task(images, config, seed=0)
    found = encode_images(network, task.train.images, mean, mean + 1, batch_size=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 6
    assert _resident(path) < array.nbytes / 6
    assert torch.equal(found[:, 0] > 0, torch.from_numpy(task.train.labels) > 0)


def _resident(path):
    """Bytes of the file ``path`` that count as this process's memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines() if Path("/proc/self/smaps").exists() else [])
    return sum(
        next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) * 1024
        for line in lines
        if line.endswith(str(path))
    )
