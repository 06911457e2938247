"""The nearest past embedding as a positive, for every method that can take one: the plain formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clsp.encoders.memory import Memory
from clsp.methods import METHODS
from clsp.methods.base import Views
from clsp.objectives import OBJECTIVES
from clsp.objectives.alignment import alignment, negative_cosine
from clsp.objectives.info_nce import info_nce
from clsp.objectives.nt_xent import nt_xent
from clsp.objectives.paired_nce import paired_nce
from clsp.positives.neighbour import NeighbourSearch
from clsp.positives.placement import Host, Third, in_place
from clsp.positives.sources.neighbour import Neighbour
from clsp.training.callbacks import NeighbourCheck
from clsp.training.config import PositiveConfig
from clsp.training.pretrain import build, build_method
from tiny import Tiny, for_method, make, small

TAKERS = [name for name, made in METHODS.items() if made.takes_neighbours]


def views(seed=0, progress=0.5):
    generator = torch.Generator().manual_seed(seed)
    x = [torch.randn(12, 1, 6, 6, generator=generator) for _ in range(2)]
    return Views(x[0], x[1], None, torch.arange(12) + 100 * seed, progress, step=seed + 3)


def searching(name, host):
    """A method with a memory of neighbours that holds two batches."""
    torch.manual_seed(0)
    method = make(name, Tiny(), **small(name)).eval()
    method.neighbour = Neighbour(memory=30).search(8, seed=0, host=host)
    for seed in (1, 2):
        method(views(seed))
        method.after_step()
    return method


def no_images(z):
    return torch.full((len(z),), -2)


def formula(name, method, batch, other, shown=no_images):
    """The method's loss with ``other(z)`` in the place of what a view is pulled to: past images ``shown(z)``."""
    z1, z2 = method.network(batch.first), method.network(batch.second)
    if name == "simclr":
        return nt_xent(z1, other(z2), 0.2)
    if name == "simsiam":
        p1, p2 = method.predictor(z1), method.predictor(z2)
        return 0.5 * negative_cosine(p1, other(z2.detach())) + 0.5 * negative_cosine(p2, other(z1.detach()))
    average = method.target if name == "byol" else method.momentum
    t1, t2 = average(batch.first), average(batch.second)
    if name == "byol":
        return alignment(method.predictor(z1), other(t2)) + alignment(method.predictor(z2), other(t1))
    if name == "moco":
        losses = []
        for query, target, memory in ((z1, t2, method.second_keys), (z2, t1, method.first_keys)):
            positive = shown(target)[:, None] == memory.ids
            losses.append(info_nce(query, other(target), memory.rows, 0.2, ignore=positive))
        return 0.5 * sum(losses)
    assert name == "mocov3", f"write down the formula of {name}"
    q1, q2 = method.predictor(z1), method.predictor(z2)
    return 0.4 * (paired_nce(q1, other(t2), 0.2) + paired_nce(q2, other(t1), 0.2))


@pytest.mark.parametrize("name", TAKERS)
def test_in_the_second_views_place_the_methods_own_loss_pulls_to_the_nearest_row(name):
    host = Host(odds=1.0)
    method, batch = searching(name, host), views()
    chosen = in_place(batch.ids, 0.5, seed=0, step=3)
    assert 2 <= int(chosen.sum()) <= 10
    rows, ids = method.neighbour.memory.rows.clone(), method.neighbour.memory.ids.clone()
    asked = []

    def nearest(z):
        return (F.normalize(z, dim=1) @ rows.T).argmax(dim=1)

    def other(z):
        asked.append(z)
        return torch.where(chosen[:, None], rows[nearest(z)].detach(), z)

    def shown(z):
        return torch.where(chosen & (ids[nearest(z)] >= 0), ids[nearest(z)], -2)

    expected = formula(name, method, batch, other, shown)
    (found,) = method(batch).terms.values()
    torch.testing.assert_close(found, expected)
    assert abs(float(found - formula(name, method, batch, lambda z: z))) > 1e-5
    assert (shown(asked[0]) >= 0).any()
    if name == "moco":  # the row that it pulls to stands among the rows that repel, too
        assert abs(float(found - formula(name, method, batch, other))) > 1e-5
    gradients = [torch.autograd.grad(value, method.network.projector[0].weight)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients)
    assert torch.equal(method.neighbour.memory.rows, rows)
    method.after_step()
    places = (24 + torch.arange(12)) % 30
    torch.testing.assert_close(method.neighbour.memory.rows[places], F.normalize(asked[0], dim=1).detach())
    assert torch.equal(method.neighbour.memory.ids[places], batch.ids)


@pytest.mark.parametrize("name", TAKERS)
def test_odds_of_0_are_the_method_alone(name):
    method, batch = searching(name, Host(odds=0.0)), views()
    (found,) = method(batch).terms.values()
    torch.testing.assert_close(found, formula(name, method, batch, lambda z: z))


@pytest.mark.parametrize("objective", OBJECTIVES.names())
@pytest.mark.parametrize("name", METHODS.names())
def test_as_a_third_embedding_it_is_pulled_to_the_first_view_by_the_chosen_objective(
    make_images, tiny_pretrain, name, objective
):
    positive = PositiveConfig(
        source="neighbour", objective=objective, neighbour=Neighbour(memory=20), third=Third(weight=0.7)
    )
    config = tiny_pretrain(**for_method(name, positive=positive, batch_size=8))
    torch.manual_seed(0)
    training, _ = build(make_images(), config, np.arange(48), None, seed=0)
    training.to_device(torch.device("cpu"))
    training.eval()
    for number in range(3):
        rows = training.method.neighbour.memory.rows.clone()
        found = training.step(number)
        z = found.output.first
        nearest = rows[(F.normalize(z, dim=1) @ rows.T).argmax(dim=1)]
        torch.testing.assert_close(found.terms["positive"], 0.7 * positive.pull(z, nearest))
        assert torch.equal(training.method.neighbour.memory.rows, rows)
        training.after_step(number)
        places = (8 * number + torch.arange(8)) % 20
        torch.testing.assert_close(training.method.neighbour.memory.rows[places], F.normalize(z, dim=1).detach())
        assert torch.equal(training.method.neighbour.memory.ids[places], found.views.ids)


def test_the_memory_of_neighbours_is_part_of_the_method_and_of_its_width(make_images, tiny_pretrain):
    for placement in ("third", "host"):
        positive = PositiveConfig(source="neighbour", placement=placement, neighbour=Neighbour(memory=20))
        config = tiny_pretrain(positive=positive)
        _, spec = build(make_images(), config, np.arange(48), None, seed=0)
        method = build_method(spec, config, seed=0)
        assert isinstance(method.neighbour, NeighbourSearch) and isinstance(method.neighbour.memory, Memory)
        assert method.state_dict()["neighbour.memory.rows"].shape == (20, config.projector.dim)
        assert (method.neighbour.host is None) == (placement == "third")


def test_a_method_without_neighbours_of_its_own_says_how_often_they_are_right(make_images, tiny_pretrain):
    positive = PositiveConfig(source="neighbour", neighbour=Neighbour(memory=32))
    config = tiny_pretrain(positive=positive)
    training, _ = build(make_images(), config, np.arange(48), None, seed=0)
    training.to_device(torch.device("cpu"))
    for number in range(3):
        found = training.step(number)
        told = NeighbourCheck().on_step(training, number, found)
        ids, own = training.method.neighbour.found, found.views.ids
        known = ids >= 0
        assert told["neighbour_is_itself"] == pytest.approx(float((ids == own).float().mean()))
        right = ((ids % 3 == own % 3) & known).sum() / known.sum().clamp_min(1)  # the labels of the made images
        assert told["neighbour_same_class"] == pytest.approx(float(right))
        training.after_step(number)
    assert known.any()


def test_neighbours_without_a_label_and_of_another_training_are_no_right_ones(make_images, tiny_pretrain):
    """A memory that was taken over knows images that are not trained on now."""
    images = make_images()
    images = replace(images, train=replace(images.train, labels=np.full(48, -1)))
    positive = PositiveConfig(source="neighbour", neighbour=Neighbour(memory=32))
    training, _ = build(images, tiny_pretrain(positive=positive), np.arange(24), None, seed=0)
    training.to_device(torch.device("cpu"))
    training.method.neighbour.memory.ids.copy_(torch.arange(16, 48))
    assert NeighbourCheck().on_step(training, 0, training.step(0))["neighbour_same_class"] == 0.0
