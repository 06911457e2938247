"""What a step makes of a source: who repels no one, what counts how much, and at which rate it is learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsp.objectives import OBJECTIVES
from clsp.positives.placement import NO_IMAGE, Host, Third, in_place, no_negatives
from clsp.positives.source import Positive
from clsp.training.config import PositiveConfig
from clsp.training.pretrain import build


@pytest.fixture
def training(make_images, tiny_pretrain):
    def make(positive=None, **changes):
        images = make_images()
        config = tiny_pretrain(positive=positive or PositiveConfig(), **changes)
        torch.manual_seed(0)
        made, _ = build(images, config, np.arange(0, 48, 2), None, seed=0)
        made.to_device(torch.device("cpu"))
        return made

    return make


def drawn(positions, anchors, step):
    """Each anchor is shown the next but one image of the data, and counts by its place."""
    return Positive(255 - anchors, weights=(positions + 1) / 24, ids=(2 * positions + 4) % 48)


@pytest.mark.parametrize("objective", OBJECTIVES.names())
def test_a_third_view_counts_by_its_weight_and_who_shows_whom_repels_no_one(training, objective):
    positive = PositiveConfig(source="random", objective=objective, third=Third(weight=0.7, trim=0.25))
    made = training(positive)
    made.draw = drawn
    found = made.step(0)
    views, ids = found.views, found.views.ids
    assert torch.equal(views.weights, (ids / 2 + 1) / 24) and views.pair_weights is None
    assert torch.equal(views.shown, (ids + 4) % 48)
    assert torch.equal(views.ignore, no_negatives(ids, (ids + 4) % 48)) and views.ignore.any()
    how = {"weights": views.weights, "ignore": views.ignore}
    expected = positive.third.term(found.output.pair, positive.pull, 0.0, **how)
    assert torch.equal(found.terms["positive"], expected)
    for forgotten in how:
        other = positive.third.term(found.output.pair, positive.pull, 0.0, **{**how, forgotten: None})
        assert (float(other) != float(expected)) == (forgotten == "weights" or positive.pull.negatives)


@pytest.mark.parametrize("weigh", ["chance", "loss"])
def test_in_the_second_views_place_those_who_are_there_alone_count_and_repel_no_one(training, weigh):
    positive = PositiveConfig(source="random", placement="host", host=Host(odds=2.0, weigh=weigh))
    made = training(positive)
    made.draw = drawn
    found = made.step(3)
    views, ids = found.views, found.views.ids
    weights = (ids / 2 + 1) / 24
    chosen = in_place(ids, 2 / 3 if weigh == "loss" else 2 / 3 * weights, seed=0, step=3)
    shown = torch.where(chosen, (ids + 4) % 48, NO_IMAGE)
    assert 2 < int(chosen.sum()) < 14
    assert views.positive is None and views.weights is None and set(found.terms) == {"nt_xent"}
    assert torch.equal(views.shown, shown) and torch.equal(views.ignore, no_negatives(ids, shown))
    if weigh == "loss":
        assert torch.equal(views.pair_weights, torch.where(chosen, weights, torch.ones(16)))
    else:
        assert views.pair_weights is None


def rates_of(made, steps):
    """The learning rates of so many steps."""
    optimizer, schedule = made.optimizer()
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


def test_the_learning_rate_starts_near_0_and_rises_along_a_line(training):
    """Of 3 warm-up epochs of 1 step: CLSP's first rate is 1e-3 where the highest is 0.5."""
    rates = rates_of(training(warmup_epochs=3, epochs=6, lr=0.5), 6)
    line = [1e-3 + (0.5 - 1e-3) * (step + 1) / 4 for step in range(3)]
    assert rates == pytest.approx([*line, 0.5, 0.375, 0.125])


def test_a_training_shorter_than_its_warm_up_reaches_its_rate_and_falls(training):
    """`--pretrain.epochs 4` beside a recipe's five epochs of warm-up."""
    rates = rates_of(training(warmup_epochs=5, epochs=4, lr=0.5), 4)
    assert max(rates) == rates[2] == 0.5 and rates[3] < 0.5


def test_a_method_trains_its_groups_at_their_own_rates(training):
    made = training(method="simsiam", warmup_epochs=0, epochs=6, lr=0.5)
    optimizer, schedule = made.optimizer()
    for _ in range(5):
        optimizer.step()
        schedule.step()
    trunk, head = schedule.get_last_lr()
    assert head == 0.5 and trunk < 0.05


def test_averages_are_told_in_every_step_how_much_of_the_training_is_done(training):
    """Not when a step is only looked at: then its batch is given."""
    made, told = training(method="byol", epochs=6), []
    made.method.before_step = told.append
    for number in (0, 3, 5):
        made.step(number)
    made.step(2, made.batches.positions(2), 0.4)
    assert told == [0.0, 0.5, 5 / 6]
