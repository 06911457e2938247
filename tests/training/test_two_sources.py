"""Two sources of positives in one training."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from clsp.errors import UserError
from clsp.positives.bank import PositiveBank
from clsp.positives.either import Tossed
from clsp.positives.source import Positive
from clsp.positives.sources import SOURCES
from clsp.training.checks import check_together, needs_bank, sees_labels, shows_generated
from clsp.training.config import PositiveConfig
from clsp.training.pretrain import arm_of, build

SHARING = [name for name, kind in SOURCES.items() if kind.level == "image" and kind.one_anchor]


def gives(value, **more):
    """A source that shows one value everywhere."""

    def draw(positions, anchors, step):
        return Positive(torch.full_like(anchors, value), **{key: made(positions) for key, made in more.items()})

    return draw


def test_a_coin_chooses_for_each_anchor_and_step_and_what_a_source_does_not_say_is_as_without_it():
    one = gives(1, weights=lambda rows: torch.full((len(rows),), 0.25))
    other = gives(2, ids=lambda rows: rows + 500)
    tossed = Tossed((one, other), torch.arange(64) + 100, seed=3)
    positions, anchors = torch.arange(64), torch.zeros(64, 1, 2, 2, dtype=torch.uint8)
    drawn = [tossed(positions, anchors, step) for step in range(40)]
    second = torch.stack([found.images[:, 0, 0, 0] == 2 for found in drawn])
    assert 0.45 < second.float().mean() < 0.55
    often = second.float().mean(dim=0)
    assert often.min() > 0.2 and often.max() < 0.8
    for step, (found, chosen) in enumerate(zip(drawn, second, strict=True)):
        assert found.weights.tolist() == torch.where(chosen, 1.0, 0.25).tolist()
        assert found.ids.tolist() == torch.where(chosen, positions + 500, positions + 100).tolist()
        half = tossed(positions[:32], anchors[:32], step)  # a process's part of the batch
        assert half.images.equal(found.images[:32])


def test_where_neither_source_weighs_nothing_is_weighed():
    found = Tossed((gives(1), gives(2)), torch.arange(4), 0)(torch.arange(4), torch.zeros(4, 1, 1, 1), 0)
    assert found.weights is None and found.ids is None and found.mates is None


@pytest.mark.parametrize(("first", "second"), itertools.combinations(SHARING, 2))
def test_two_need_what_one_of_them_needs(tiny_pretrain, first, second):
    config = tiny_pretrain(positive=PositiveConfig(source=first, also=second))
    alone = [tiny_pretrain(positive=PositiveConfig(source=name)) for name in (first, second)]
    for asked in (needs_bank, sees_labels, shows_generated):
        assert asked(config) == any(asked(one) for one in alone)
    assert arm_of(config) == f"simclr+{first}+{second}"


@pytest.mark.parametrize("placement", ["third", "host"])
def test_it_trains(make_images, tiny_pretrain, placement):
    candidates = np.random.default_rng(3).integers(0, 256, (48, 2, 16, 16, 3), dtype=np.uint8)
    images = make_images()
    bank = PositiveBank(None, {"candidates": 2, "shape": [16, 16, 3]}, np.arange(48), [candidates])
    config = tiny_pretrain(positive=PositiveConfig(source="bank", also="nearest", placement=placement))
    training, _ = build(images, config, np.arange(48), bank, seed=0)
    training.to_device(torch.device("cpu"))
    bytes_of = {row.tobytes() for row in candidates.transpose(0, 1, 4, 2, 3).reshape(-1, 3, 16, 16)}
    positions = torch.arange(48)
    shown = [training.draw(positions, training.material.pixels[positions], step).images for step in range(6)]
    drawn = [row.numpy().tobytes() in bytes_of for images in shown for row in images]
    assert 0.3 < np.mean(drawn) < 0.7
    for step in range(2):
        training.step(step).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in training.method.encoder.parameters())


@pytest.mark.parametrize(
    ("positive", "said"),
    [
        ({"also": "view"}, r"also view: name another first source, such as bank\+view"),
        ({"source": "view", "also": "view"}, "another first source"),
        ({"source": "view", "also": "mixture"}, "'mixture' cannot be one of two sources"),
        ({"source": "neighbour", "also": "view"}, "'neighbour' cannot be one of two sources; those that can: bank"),
    ],
)
def test_what_cannot_share_is_refused(make_images, tiny_pretrain, positive, said):
    with pytest.raises(UserError, match=said):
        check_together(tiny_pretrain(positive=PositiveConfig(**positive)), make_images())
