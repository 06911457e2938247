"""One process is two processes on the halves of the same batch: losses, gradients, memories, orders."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from clsp.methods.config import DINOConfig, MoCoConfig, SwAVConfig
from clsp.objectives.contrastive import info_nce, nt_xent
from torch import nn

from clsp import distributed
from clsp.encoders.config import ProjectorConfig
from clsp.engine.batches import Batches
from clsp.methods.base import Views
from clsp.methods.dino import DINO
from clsp.methods.moco import MoCo
from clsp.methods.swav import SwAV
from clsp.objectives.alignment import alignment
from clsp.objectives.redundancy import barlow_twins, vicreg

BATCH = 8


class Flat(nn.Module):
    """An encoder without BatchNorm, whose statistics would differ between one process and two."""

    num_features = 6

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 6)

    def forward(self, x):
        return self.linear(x.flatten(1)).tanh()


def inputs():
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(BATCH, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(3)]
    weights = torch.rand(BATCH, generator=generator, dtype=torch.float64)
    ignore = torch.rand(BATCH, BATCH, generator=generator) < 0.3
    return views, weights, ignore


def losses_of(name, z1, z2, z3, rows):
    _, weights, ignore = inputs()
    if name == "nt_xent":
        return nt_xent(z1, z2, 0.2)
    if name == "weighted":
        return nt_xent(z1, z2, 0.2, weights=weights[rows], ignore=ignore[rows])
    if name == "clsp":
        return nt_xent(z1, z2, 0.2) + alignment(z1, z3)
    if name == "barlow":
        return barlow_twins(z1, z2, 0.01)
    if name == "vicreg":
        return sum(vicreg(z1, z2))
    memory = nn.functional.normalize(torch.linspace(-1, 2, 30, dtype=torch.float64).sin().view(5, 6), dim=1)
    return info_nce(z1, z2, memory, 0.2)


NAMES = ("nt_xent", "weighted", "clsp", "info_nce", "barlow", "vicreg")


def step(name, rows, wrap):
    """Loss, parameter gradients and input gradients on some rows of the batch."""
    torch.manual_seed(1)
    network = Flat().double()
    wrapped = wrap(network)
    views = [view[rows].requires_grad_() for view in inputs()[0]]
    loss = losses_of(name, *wrapped(torch.cat(views)).chunk(3), rows)
    loss.backward()
    images = [torch.zeros_like(view) if view.grad is None else view.grad for view in views]
    return {
        f"{name} loss": loss.detach(),
        f"{name} parameters": torch.cat([p.grad.flatten() for p in network.parameters()]),
        f"{name} images": torch.stack(images, dim=1),
    }


def remember(rows):
    """The two memories of MoCo, of 20 rows, after three batches of 8."""
    torch.manual_seed(1)
    moco = MoCo(Flat(), ProjectorConfig(hidden=8, dim=4), MoCoConfig(memory=20), batch_norm="joint", seed=0)
    views = [view[rows].float() for view in inputs()[0]]
    for number in range(3):
        with torch.no_grad():
            moco(Views(views[0] + number, views[1] - number, None, torch.arange(BATCH)[rows] + 10 * number, 0.0))
        moco.after_step()
    return {
        f"memory {number} {part}": getattr(memory, part)
        for number, memory in enumerate((moco.first_keys, moco.second_keys))
        for part in ("rows", "ids", "next")
    }


def swapped(rows):
    """SwAV's loss of three batches, the last with a memory of 12 rows; DINO's with its centre after each."""
    torch.manual_seed(1)
    head = ProjectorConfig(hidden=8, dim=4, batch_norm=False)
    swav = SwAV(Flat(), head, SwAVConfig(prototypes=5, memory=12), batch_norm="joint", seed=0)
    dino = DINO(Flat(), head, DINOConfig(prototypes=5), batch_norm="joint")
    views = [view[rows].float() for view in inputs()[0]]
    found = {}
    for number in range(3):
        batch = Views(views[0] + number, views[1] - number, None, torch.arange(BATCH)[rows] + 10 * number, 0.5)
        for name, method in (("swav", swav), ("dino", dino)):
            found[f"{name} {number}"] = method(batch).terms[name].detach()
            method.after_step()
        found[f"center {number}"] = dino.center.clone()
    return found


def order():
    return torch.cat([Batches(30, BATCH, seed=0, stream="s", drop_last=False).positions(s) for s in range(9)])


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/meet", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    rows = torch.arange(BATCH).chunk(2)[rank]
    found = {}
    for name in NAMES:
        found |= step(name, rows, nn.parallel.DistributedDataParallel)
    found |= remember(rows)
    found |= swapped(rows)
    a, b = torch.ones(2, 1, requires_grad=True), torch.ones(4, 1, requires_grad=True)
    doubled = 2 * b  # made before the gathering, and so reached after it on the way back
    ((distributed.gather(a) + doubled) * torch.arange(4.0)[:, None]).sum().backward()
    found |= {"shared a": a.grad, "shared b": b.grad}
    found |= {"order": order(), "gathered": distributed.gather(torch.full((2, 1), float(rank)))}
    np.savez(f"{folder}/{rank}.npz", **{name: value.numpy() for name, value in found.items()})
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gloo")
    mp.spawn(worker, (str(folder),), nprocs=2)
    return [dict(np.load(folder / f"{rank}.npz")) for rank in (0, 1)]


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


def test_memories_are_the_same_on_both_processes_and_on_one(ranks):
    for name, value in remember(torch.arange(BATCH)).items():
        for rank in ranks:
            np.testing.assert_allclose(rank[name], value.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


def test_codes_and_centre_are_made_of_all_processes_rows(ranks):
    whole = swapped(torch.arange(BATCH))
    assert len({round(float(whole[f"swav {number}"]), 5) for number in range(3)}) == 3
    for name, value in whole.items():
        mean = np.mean([rank[name] for rank in ranks], axis=0)
        np.testing.assert_allclose(mean, value.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)
    assert all(np.array_equal(ranks[0][f"center {number}"], ranks[1][f"center {number}"]) for number in range(3))


def test_two_processes_share_the_batch_of_one_in_order_of_rank(ranks):
    shares = np.concatenate([rank["order"].reshape(9, BATCH // 2) for rank in ranks], axis=1)
    np.testing.assert_array_equal(shares.flatten(), order().numpy())
    assert ranks[0]["gathered"].flatten().tolist() == ranks[1]["gathered"].flatten().tolist() == [0, 0, 1, 1]
