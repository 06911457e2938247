"""Pairs, frames and mixtures in the training loop."""

from __future__ import annotations

import csv
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clsp.engine.hardware import HardwareConfig
from clsp.errors import UserError
from clsp.methods import METHODS
from clsp.objectives import OBJECTIVES
from clsp.positives.bank import PositiveBank
from clsp.positives.placement import Host
from clsp.positives.sources import SOURCES
from clsp.positives.sources.frames import Frames
from clsp.positives.sources.neighbour import Neighbour
from clsp.positives.sources.pairs import Pairs
from clsp.training.checks import check_together
from clsp.training.config import PositiveConfig
from clsp.training.pretrain import build, pretrain
from tiny import for_method

CPU = HardwareConfig(accelerator="cpu")


@pytest.fixture
def pair_file(tmp_path):
    def write(pairs, name="pairs.csv"):
        path = tmp_path / name
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("first", "second"), *pairs])
        return str(path)

    return write


@pytest.fixture
def bank_of():
    def made(images):
        """A bank of noise."""
        candidates = np.random.default_rng(3).integers(0, 256, (48, 2, 16, 16, 3), dtype=np.uint8)
        return PositiveBank(None, {"candidates": 2, "shape": [16, 16, 3]}, np.arange(48), [candidates])

    return made


@pytest.fixture
def train(make_images, tiny_pretrain, tmp_path):
    def run(name, source, *, images=None, positive=None, **changes):
        config = tiny_pretrain(positive=PositiveConfig(source=source, **(positive or {})), **changes)
        made = pretrain(images or make_images(), config, CPU, seed=0, folder=tmp_path / name)
        return load_file(tmp_path / name / "encoder.safetensors"), made

    return run


def in_videos(images, videos=6):
    """The same images as frames: image i is frame i // videos of video i % videos."""
    names = [f"{i % videos}/{i // videos}.png" for i in range(len(images.train))]
    return replace(images, train=replace(images.train, names=names))


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("placement", ["third", "host"])
def test_pairs_of_an_image_with_itself_are_the_third_view_or_the_method_alone(train, pair_file, make_images, placement):
    """Identity source = host method, to the bit."""
    names = make_images().train.names
    itself = pair_file([(name, name) for name in names])
    pairs, _ = train("pairs", "pairs", positive={"placement": placement, "pairs": Pairs(file=itself)}, epochs=1)
    expected, _ = train("other", "view" if placement == "third" else None, epochs=1)
    assert same(pairs, expected)


@pytest.mark.parametrize("placement", ["third", "host"])
@pytest.mark.parametrize("method", METHODS.names())
def test_an_anchor_that_shows_itself_changes_nothing_in_any_method(
    make_images, tiny_pretrain, pair_file, method, placement
):
    """Neither in the first epoch, nor when memories know the anchors from earlier ones."""
    images = make_images()
    itself = Pairs(file=pair_file([(name, name) for name in images.train.names]))
    losses = []
    for source in ("pairs", "view" if placement == "third" else None):
        positive = PositiveConfig(source=source, placement=placement, pairs=itself)
        config = tiny_pretrain(**for_method(method, positive=positive, batch_size=8))
        torch.manual_seed(0)
        training, _ = build(images, config, np.arange(16), None, seed=0)
        training.to_device(torch.device("cpu"))
        optimizer, _ = training.optimizer()
        losses.append([])
        for number in range(5):  # two steps an epoch
            found = training.step(number)
            losses[-1].append({name: float(term) for name, term in found.terms.items()})
            found.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            training.after_step(number)
    assert losses[0] == losses[1]


def test_a_memory_knows_which_image_a_second_view_showed(make_images, tiny_pretrain, pair_file):
    images = make_images()
    names = images.train.names
    pairs = Pairs(file=pair_file([(names[i], names[(i + 20) % 48]) for i in range(48)]))
    positive = PositiveConfig(source="pairs", placement="host", pairs=pairs)
    training, _ = build(images, tiny_pretrain(method="moco", positive=positive), np.arange(48), None, seed=0)
    training.to_device(torch.device("cpu"))
    views = training.step(0).views
    training.after_step(0)
    others = views.shown >= 0
    assert others.any() and not others.all() and (views.shown != views.ids).all()
    first, second = (keys.ids[: len(views.ids)] for keys in (training.method.first_keys, training.method.second_keys))
    assert torch.equal(first, views.ids)
    assert torch.equal(second, torch.where(others, views.shown, views.ids))


def test_frames_with_a_window_of_0_are_the_third_view(train, make_images):
    frames, _ = train(
        "frames", "frames", images=in_videos(make_images()), positive={"frames": Frames(window=0)}, epochs=1
    )
    view, _ = train("view", "view", images=in_videos(make_images()), epochs=1)
    assert same(frames, view)


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_trains_on_every_source_that_suits_it(tiny_pretrain, make_images, pair_file, bank_of, method):
    images = in_videos(make_images())
    pairs = Pairs(file=pair_file([(images.train.names[i], images.train.names[i + 3]) for i in range(0, 40, 2)]))
    seen = set()
    for source, placement in itertools.product((None, *SOURCES.names()), ("third", "host")):
        positive = PositiveConfig(source=source, placement=placement, pairs=pairs, neighbour=Neighbour(memory=16))
        config = tiny_pretrain(**for_method(method, positive=positive, batch_size=8))
        try:
            check_together(config, images)
        except UserError:
            continue
        torch.manual_seed(0)
        training, _ = build(images, config, np.arange(48), bank_of(images), seed=0)
        optimizer, _ = training.optimizer()
        training.to_device(torch.device("cpu"))
        found = training.step(0)
        found.loss.backward()
        optimizer.step()
        training.after_step(0)
        assert ("positive" in found.terms) == (source is not None and placement == "third")
        losses = tuple(float(found.terms[name]) for name in sorted(found.terms))
        assert np.isfinite(losses).all()
        # No positive stands beside none, nor a real view in the second one's place: these alone are the method itself.
        assert losses not in seen or source is None or (source, placement) == ("view", "host")
        seen.add(losses)
    assert len(seen) >= len(SOURCES.names())


def test_the_content_of_the_pairs_belongs_to_the_stage_and_the_place_of_the_file_does_not(
    train, pair_file, make_images, tmp_path, capsys
):
    names = make_images().train.names

    def files(*made):
        return {"pairs": Pairs(file=pair_file(*made))}

    first, _ = train("a", "pairs", positive=files([names[:2]]), epochs=1)
    capsys.readouterr()
    train("a", "pairs", positive=files([names[:2]], "moved.csv"), epochs=1)
    assert "done before" in capsys.readouterr().err
    other, _ = train("a", "pairs", positive=files([names[1:3]]), epochs=1)
    (kept,) = (tmp_path / "a/superseded").iterdir()
    assert same(first, load_file(kept / "encoder.safetensors")) and not same(first, other)


def test_what_cannot_work_is_refused_before_anything_is_written(train, tmp_path):
    with pytest.raises(UserError, match=r"'pairs' need their file: --pretrain.positive.pairs.file"):
        train("a", "pairs")
    with pytest.raises(UserError, match="'mixture' belong to two anchors"):
        train("b", "mixture", positive={"placement": "host"})
    with pytest.raises(UserError, match="cannot be read"):
        train("c", "pairs", positive={"pairs": Pairs(file="no-such.csv")})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("objective", OBJECTIVES.names())
def test_every_objective_pulls_frames_in_a_training(train, make_images, objective):
    images = in_videos(make_images())
    weights, _ = train("one", "frames", images=images, epochs=1, positive={"objective": objective})
    others = [name for name in (*OBJECTIVES.names(), None) if name != objective]
    for name in others:
        settings = {"positive": {"objective": name}} if name else {}
        other, _ = train(f"other {name}", "frames" if name else None, images=images, epochs=1, **settings)
        assert not same(weights, other)


def test_weights_of_the_loss_train_otherwise_than_weights_of_the_chance(train, make_images):
    images = in_videos(make_images())
    made = [
        train(weigh, "frames", images=images, epochs=1, positive={"placement": "host", "host": Host(weigh=weigh)})[0]
        for weigh in ("chance", "loss")
    ]
    assert not same(*made)
