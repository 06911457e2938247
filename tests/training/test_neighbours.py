"""The nearest past embedding as a positive, for every method that can take one: the plain formulas."""

from __future__ import annotations

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


def formula(name, method, batch, other):
    """The method's loss with ``other(z)`` in the place of what a view is pulled to."""
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
        first = info_nce(z1, other(t2), method.second_keys.rows, 0.2)
        return 0.5 * (first + info_nce(z2, other(t1), method.first_keys.rows, 0.2))
    assert name == "mocov3", f"write down the formula of {name}"
    q1, q2 = method.predictor(z1), method.predictor(z2)
    return 0.4 * (paired_nce(q1, other(t2), 0.2) + paired_nce(q2, other(t1), 0.2))


@pytest.mark.parametrize("name", TAKERS)
def test_in_the_second_views_place_the_methods_own_loss_pulls_to_the_nearest_row(name):
    host = Host(odds=1.0)
    method, batch = searching(name, host), views()
    chosen = in_place(batch.ids, 0.5, seed=0, step=3)
    assert 2 <= int(chosen.sum()) <= 10
    rows = method.neighbour.memory.rows.clone()
    asked = []

    def other(z):
        asked.append(z)
        nearest = rows[(F.normalize(z, dim=1) @ rows.T).argmax(dim=1)].detach()
        return torch.where(chosen[:, None], nearest, z)

    expected = formula(name, method, batch, other)
    (found,) = method(batch).terms.values()
    torch.testing.assert_close(found, expected)
    assert abs(float(found - formula(name, method, batch, lambda z: z))) > 1e-5
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
