"""One process is two processes on the halves of the same batch: losses, gradients, orders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from clsp import distributed
from clsp.engine.batches import Batches
from clsp.objectives import OBJECTIVES
from clsp.objectives.correlation import feature_agreement
from clsp.objectives.dispersive import dispersive
from clsp.objectives.gaussian import sigreg
from clsp.objectives.info_nce import info_nce
from clsp.objectives.redundancy import barlow_twins, vicreg
from clsp.objectives.simple import simple
from clsp.objectives.sup_con import sup_con
from gloo import Flat, two

BATCH = 8


def inputs():
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(BATCH, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2)]
    weights = torch.rand(BATCH, generator=generator, dtype=torch.float64)
    ignore = torch.rand(BATCH, BATCH, generator=generator) < 0.3
    return views, weights, ignore


MEMORY = nn.functional.normalize(torch.linspace(-1, 2, 48, dtype=torch.float64).sin().view(8, 6), dim=1)
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3, 2])
CALLS = {
    **{name: made() for name, made in OBJECTIVES.items()},
    "sup_con": lambda z1, z2, rows, **how: sup_con(z1, z2, LABELS[rows], 0.2, **how),
    "info_nce": lambda z1, z2, **how: info_nce(z1, z2, MEMORY, 0.2, **how),
}
"""What has weights, and heeds who is no negative, or has none."""
WHOLE = {
    "barlow": lambda z1, z2: barlow_twins(z1, z2, 0.01),
    "vicreg": lambda z1, z2: sum(vicreg(z1, z2)),
    "simple": lambda z1, z2: simple(z1, z2, 1.0),
    "sigreg": lambda z1, z2: sigreg(torch.stack((z1, z2)), torch.eye(z1.shape[1], dtype=z1.dtype)),
    "dispersive": lambda z1, z2: dispersive(z1) + dispersive(z2),
    "features": lambda z1, z2: feature_agreement(z1, z2, z2, z1),
}
NAMES = (*CALLS, *(f"weighted {name}" for name in CALLS), *WHOLE)


def losses_of(name, z1, z2, rows):
    if name in WHOLE:
        return WHOLE[name](z1, z2)
    _, weights, ignore = inputs()
    how = {"weights": weights[rows], "ignore": ignore[rows]} if name.startswith("weighted") else {}
    name = name.removeprefix("weighted ")
    return CALLS[name](z1, z2, **({"rows": rows} if name == "sup_con" else {}), **how)


def step(name, rows, wrap):
    """Loss, parameter gradients and input gradients on some rows of the batch."""
    torch.manual_seed(1)
    network = Flat(12).double()
    wrapped = wrap(network)
    views = [view[rows].requires_grad_() for view in inputs()[0]]
    loss = losses_of(name, *wrapped(torch.cat(views)).chunk(2), rows)
    loss.backward()
    images = [torch.zeros_like(view) if view.grad is None else view.grad for view in views]
    return {
        f"{name} loss": loss.detach(),
        f"{name} parameters": torch.cat([p.grad.flatten() for p in network.parameters()]),
        f"{name} images": torch.stack(images, dim=1),
    }


def order():
    return torch.cat([Batches(30, BATCH, seed=0, stream="s", drop_last=False).positions(s) for s in range(9)])


def work(rank):
    rows = torch.arange(BATCH).chunk(2)[rank]
    found = {}
    for name in NAMES:
        found |= step(name, rows, nn.parallel.DistributedDataParallel)
    a, b = torch.ones(2, 1, requires_grad=True), torch.ones(4, 1, requires_grad=True)
    doubled = 2 * b  # made before the gathering, and so reached after it on the way back
    ((distributed.gather(a) + doubled) * torch.arange(4.0)[:, None]).sum().backward()
    found |= {"shared a": a.grad, "shared b": b.grad}
    found |= {"order": order(), "gathered": distributed.gather(torch.full((2, 1), float(rank)))}
    return {name: value.numpy() for name, value in found.items()}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return two(work, tmp_path_factory.mktemp("gloo"))


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients_of_two_processes_are_those_of_one(ranks, name):
    whole = {part: value.numpy() for part, value in step(name, torch.arange(BATCH), lambda network: network).items()}
    assert np.abs(whole[f"{name} parameters"]).max() > 1e-3
    mean = np.mean([rank[f"{name} loss"] for rank in ranks])
    assert mean == pytest.approx(float(whole[f"{name} loss"]), rel=1e-10)
    for rank in ranks:  # DDP has averaged them
        np.testing.assert_allclose(rank[f"{name} parameters"], whole[f"{name} parameters"], rtol=1e-8, atol=1e-10)
    # A row's gradient is that of the sum of both processes' losses: twice that of their mean.
    images = np.concatenate([rank[f"{name} images"] for rank in ranks]) / 2
    np.testing.assert_allclose(images, whole[f"{name} images"], rtol=1e-8, atol=1e-10)


def test_gathering_leaves_the_gradients_of_others_alone(ranks):
    for rank, found in enumerate(ranks):
        assert found["shared a"].flatten().tolist() == [[0, 2], [4, 6]][rank]
        assert found["shared b"].flatten().tolist() == [0, 2, 4, 6]


def test_two_processes_share_the_batch_of_one_in_order_of_rank(ranks):
    shares = np.concatenate([rank["order"].reshape(9, BATCH // 2) for rank in ranks], axis=1)
    np.testing.assert_array_equal(shares.flatten(), order().numpy())
    assert ranks[0]["gathered"].flatten().tolist() == ranks[1]["gathered"].flatten().tolist() == [0, 0, 1, 1]
