"""Pairs, frames and mixtures in the training loop."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from clsp.objectives.contrastive import nt_xent
from clsp.training.positive_term import no_negatives
from safetensors.torch import load_file

from clsp.engine.hardware import HardwareConfig
from clsp.errors import UserError
from clsp.training.pretrain import pretrain

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
def train(make_images, tiny_pretrain, tmp_path):
    def run(name, positives, *, images=None, **changes):
        made = pretrain(
            images or make_images(), tiny_pretrain(**changes), CPU, seed=0, folder=tmp_path / name, positives=positives
        )
        return load_file(tmp_path / name / "encoder.safetensors"), made

    return run


def in_videos(images, videos=6):
    """The same images as frames: image i is frame i // videos of video i % videos."""
    names = [f"{i % videos}/{i // videos}.png" for i in range(len(images.train))]
    return replace(images, train=replace(images.train, names=names))


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("objective", ["alignment", "host"])
def test_pairs_of_an_image_with_itself_are_the_third_view_or_the_method_alone(train, pair_file, make_images, objective):
    """Identity source = host method, to the bit."""
    names = make_images().train.names
    itself = pair_file([(name, name) for name in names])
    pairs, _ = train("pairs", "pairs", positive_objective=objective, positive_pairs=itself, epochs=1)
    expected, _ = train("other", "view" if objective == "alignment" else "none", epochs=1)
    assert same(pairs, expected)


def test_frames_with_a_window_of_0_are_the_third_view(train, make_images):
    frames, _ = train("frames", "frames", images=in_videos(make_images()), positive_window=0, epochs=1)
    view, _ = train("view", "view", images=in_videos(make_images()), epochs=1)
    assert same(frames, view)


@pytest.mark.parametrize("method", ["simclr", "moco", "byol", "nnclr", "barlow", "dino"])
@pytest.mark.parametrize("positives", ["pairs", "frames", "mixture"])
def test_every_kind_of_method_trains_on_them(train, make_images, pair_file, method, positives):
    images = in_videos(make_images())
    pairs = pair_file([(images.train.names[i], images.train.names[i + 3]) for i in range(0, 40, 2)])
    alone, _ = train("alone", "none", images=images, method=method, epochs=1)
    weights, made = train("with", positives, images=images, method=method, epochs=1, positive_pairs=pairs)
    assert made.finished and not same(alone, weights)


def test_the_content_of_the_pairs_belongs_to_the_stage_and_the_place_of_the_file_does_not(
    train, pair_file, make_images
):
    names = make_images().train.names
    train("a", "pairs", positive_pairs=pair_file([names[:2]]), epochs=1)
    train("a", "pairs", positive_pairs=pair_file([names[:2]], "moved.csv"), epochs=1)
    with pytest.raises(UserError, match="pairs"):
        train("a", "pairs", positive_pairs=pair_file([names[1:3]]), epochs=1)


def test_what_cannot_work_is_refused_before_anything_is_written(train, tmp_path):
    with pytest.raises(UserError, match=r"'pairs' need their file: --pretrain.positive_pairs"):
        train("a", "pairs")
    with pytest.raises(UserError, match="'mixture' belong to two anchors"):
        train("b", "mixture", positive_objective="host")
    with pytest.raises(UserError, match="cannot be read"):
        train("c", "pairs", positive_pairs="no-such.csv")
    assert not any(tmp_path.iterdir())


def test_an_image_that_is_a_positive_is_no_negative_of_its_anchor_in_that_step():
    """NT-Xent without image j among the negatives of i, and the other way round, written plainly."""
    ids, shown = torch.tensor([7, 3, 9, 4]), torch.tensor([9, 3, 1, 7])
    ignore = no_negatives(ids, shown)
    assert ignore.tolist() == [
        [False, False, True, True],  # 7 is shown 9, and 4 is shown 7
        [False, True, False, False],  # 3 is shown itself
        [True, False, False, False],
        [True, False, False, False],
    ]
    drawn = torch.Generator().manual_seed(0)
    z = F.normalize(torch.randn(8, 5, generator=drawn, dtype=torch.float64), dim=1)
    total = 0.0
    for i in range(8):
        partner = (i + 4) % 8
        kept = [j for j in range(8) if j == partner or (j != i and not ignore[i % 4, j % 4])]
        scores = z[i] @ z[kept].T / 0.2
        total += float(torch.logsumexp(scores, 0) - z[i] @ z[partner] / 0.2) / 8
    assert float(nt_xent(z[:4], z[4:], 0.2, ignore=ignore)) == pytest.approx(total, rel=1e-6)
