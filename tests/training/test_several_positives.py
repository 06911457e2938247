"""Several positives of an anchor in one step: each is pulled by itself, and the term is the mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clsp.errors import UserError
from clsp.methods import METHODS
from clsp.methods.base import Views
from clsp.objectives import OBJECTIVES
from clsp.positives.placement import Third, no_negatives
from clsp.positives.source import Positive
from clsp.training.checks import check_together
from clsp.training.config import PositiveConfig
from clsp.training.pretrain import build
from tiny import Tiny, crops, for_method, make, small, vit

IMAGES = 12


def batch(count, seed=0):
    """A batch with ``count`` positives of each anchor."""
    generator = torch.Generator().manual_seed(seed)
    first, second, *others = (torch.randn(IMAGES, 1, 6, 6, generator=generator) for _ in range(2 + count))
    ids = torch.arange(IMAGES)
    return Views(first, second, torch.cat(others), ids, 0.5, ids % 3, seed)


def of_views(found, seed):
    """Where the views of a batch lie: those that APS asks for; each has crops of its own."""
    once = crops(found.ids, seed)
    return replace(found, crops=(*once[:2], *([once[2]] * len(found.positives))))


@pytest.mark.parametrize("mode", ["joint", "split", "views"])
@pytest.mark.parametrize("name", METHODS.names())
def test_each_positive_is_embedded_as_if_it_were_the_only_one(name, mode):
    """BatchNorm in eval mode: an image's embedding is its own. APS draws other patches of the second positive."""
    torch.manual_seed(0)
    encoder = vit(6) if METHODS[name].patches else Tiny()
    method = make(name, encoder, batch_norm=mode, **small(name)).eval()
    three = of_views(batch(3), 0)
    alone = [of_views(replace(three, positive=part), 0) for part in three.positives]
    found = method(three)
    assert found.pair[0].shape[0] == IMAGES and found.pair[1].shape[0] == 3 * IMAGES
    for place, one in enumerate(alone[:1] if METHODS[name].patches else alone):
        expected = method(one)
        torch.testing.assert_close(found.pair[0], expected.pair[0])
        torch.testing.assert_close(found.pair[1].chunk(3)[place], expected.pair[1])
        assert found.terms.keys() == expected.terms.keys()


@pytest.mark.parametrize("objective", OBJECTIVES.names())
def test_the_term_is_the_mean_of_the_single_ones(objective):
    generator = torch.Generator().manual_seed(0)
    anchors, positives = torch.randn(IMAGES, 5, generator=generator), torch.randn(3 * IMAGES, 5, generator=generator)
    weights, mates = torch.rand(3 * IMAGES, generator=generator), torch.arange(IMAGES).flip(0).repeat(3)
    ignore = torch.eye(IMAGES).roll(1, 0).bool()
    pull, third = PositiveConfig(source="view", objective=objective).pull, Third(weight=0.7, trim=0.25)
    found = third.term((anchors, positives), pull, 0.3, weights=weights, mates=mates, ignore=ignore)
    parts = zip(positives.chunk(3), weights.chunk(3), mates.chunk(3))
    single = [third.term((anchors, p), pull, 0.3, weights=w, mates=m, ignore=ignore) for p, w, m in parts]
    torch.testing.assert_close(found, sum(single) / 3)
    assert len({round(float(one), 6) for one in single}) == 3


@pytest.fixture
def training(make_images, tiny_pretrain):
    def made(positive, **changes):
        found, _ = build(make_images(), tiny_pretrain(positive=positive, **changes), np.arange(0, 48, 2), None, seed=0)
        found.to_device(torch.device("cpu"))
        return found

    return made


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_steps_with_several(training, name):
    made = training(PositiveConfig(source="view", third=Third(count=2)), **for_method(name))
    seen = made.step(0)
    assert len(seen.views.positive) == 2 * len(seen.views.ids)
    assert seen.loss.isfinite()
    seen.loss.backward()


def test_those_that_were_drawn_differ_and_repel_no_one(training):
    positive = PositiveConfig(source="random", objective="nt_xent", third=Third(count=3))
    made, steps = training(positive), []

    def draw(positions, anchors, step):
        steps.append(step)
        return Positive(255 - anchors, ids=(2 * positions + 4 + 2 * step) % 48)

    made.draw = draw
    views = made.step(5).views
    assert steps == [15, 16, 17]
    shown = [(views.ids + 4 + 2 * step) % 48 for step in steps]
    assert torch.equal(views.shown, torch.stack(shown, dim=1))
    masks = [no_negatives(views.ids, one) for one in shown]
    assert torch.equal(views.ignore, masks[0] | masks[1] | masks[2])
    remembered = torch.arange(48)
    expected = torch.stack([one[:, None] == remembered for one in shown]).any(dim=0)
    assert torch.equal(views.ignored_among(remembered), expected)
    assert not torch.equal(*views.positives[:2])


def test_views_of_one_image_differ(training):
    views = training(PositiveConfig(source="view", third=Third(count=2))).step(0).views
    first, second = views.positives
    assert not torch.equal(first, second)


def test_an_embedding_is_one(make_images, tiny_pretrain):
    config = tiny_pretrain(positive=PositiveConfig(source="neighbour", third=Third(count=2)))
    with pytest.raises(UserError, match=r"third.count 2: 'neighbour' gives one embedding"):
        check_together(config, make_images())
    check_together(tiny_pretrain(positive=PositiveConfig(source="neighbour")), make_images())
