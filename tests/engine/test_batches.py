"""Batches, schedules and averages."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from clsp import distributed
from clsp.engine.batches import Batches
from clsp.engine.ema import EMA
from clsp.engine.pixels import Pixels
from clsp.engine.schedule import cosine, cosine_between, warmup_factor
from clsp.errors import UserError


@pytest.mark.parametrize(("count", "size"), [(24, 8), (25, 8), (8, 8), (7, 1)])
def test_an_epoch_repeats_no_image_and_the_next_has_another_order(count, size):
    batches = Batches(count, size, seed=0, stream="s", drop_last=True)
    steps = batches.steps_per_epoch
    assert steps == count // size
    first, second = (torch.cat([batches.positions(e * steps + s) for s in range(steps)]).tolist() for e in (0, 1))
    for epoch in (first, second):
        assert len(set(epoch)) == len(epoch) == steps * size
        assert set(epoch) <= set(range(count))
    assert first != second


@pytest.mark.parametrize(("count", "size"), [(10, 4), (3, 8), (1, 5), (8, 8)])
def test_without_dropping_every_image_is_seen_equally_often(count, size):
    batches = Batches(count, size, seed=0, stream="s", drop_last=False)
    seen = torch.cat([batches.positions(step) for step in range(count)])
    assert torch.bincount(seen, minlength=count).tolist() == [size] * count
    assert all(sorted(epoch.tolist()) == list(range(count)) for epoch in seen.split(count))


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("world", [2, 4])
def test_the_shares_of_the_processes_make_up_the_batch_of_one(monkeypatch, drop_last, world):
    batches = Batches(21, 8, seed=0, stream="s", drop_last=drop_last)
    whole = [batches.positions(step) for step in range(7)]
    monkeypatch.setattr(distributed, "world_size", lambda: world)
    for step, batch in enumerate(whole):
        shares = []
        for rank in range(world):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            shares.append(batches.positions(step))
        assert torch.equal(torch.cat(shares), batch)
        assert {len(share) for share in shares} == {8 // world}


def test_the_order_is_a_function_of_seed_stream_and_step_alone():
    def positions(step, seed=0, stream="s"):
        return Batches(50, 10, seed=seed, stream=stream, drop_last=True).positions(step).tolist()

    assert positions(13) == positions(13)
    assert (
        len({tuple(x) for x in (positions(13), positions(14), positions(13, seed=1), positions(13, stream="t"))}) == 4
    )


def test_batches_that_cannot_be_are_refused(monkeypatch):
    with pytest.raises(UserError, match="batch_size 9 is larger than the 8 images; choose at most 8"):
        Batches(8, 9, seed=0, stream="s", drop_last=True)
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(UserError, match="batch_size 8 cannot be shared by 3 processes"):
        Batches(8, 8, seed=0, stream="s", drop_last=True).positions(0)


def test_pixels_are_the_same_from_memory_and_from_the_array(monkeypatch):
    array = np.random.default_rng(0).integers(0, 256, (9, 1, 3, 3)).astype(np.uint8)
    rows, wanted = np.array([8, 2, 5, 5]), torch.tensor([3, 0, 1])
    cpu = torch.device("cpu")
    resident = Pixels(array, rows).to(cpu)
    monkeypatch.setattr(Pixels, "LIMIT", 0)
    mapped = Pixels(array, rows).to(cpu)
    assert (resident._resident is None, mapped._resident is None) == (False, True)
    for pixels in (resident, mapped):
        assert len(pixels) == 4
        assert np.array_equal(pixels[wanted].numpy(), array[[5, 8, 2]])


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 1 / 5), (1, 2 / 5), (3, 4 / 5), (4, 1.0), (8, 0.5), (11, 0.5 * (1 + math.cos(math.pi * 7 / 8)))],
)
def test_warm_up_then_cosine(step, factor):
    assert warmup_factor(step, total=12, warmup=4, shape="cosine") == pytest.approx(factor)
    assert warmup_factor(step, total=12, warmup=4, shape="constant") == pytest.approx(min(factor, 1) if step < 4 else 1)


def test_warm_up_starts_where_it_is_told_and_may_be_absent():
    assert warmup_factor(0, total=10, warmup=4, shape="cosine", start=0.5) == pytest.approx(0.5 + 0.5 / 5)
    assert warmup_factor(0, total=10, warmup=0, shape="cosine") == 1.0
    # One that is as long as the training ends at its half.
    assert warmup_factor(5, total=10, warmup=10, shape="cosine") == pytest.approx(1.0)
    assert warmup_factor(4, total=10, warmup=10, shape="cosine") == pytest.approx(5 / 6)
    assert warmup_factor(10, total=10, warmup=10, shape="cosine") == pytest.approx(0.0)


@pytest.mark.parametrize(("done", "value"), [(0.0, 0.99), (0.5, 0.9945), (1.0, 0.999)])
def test_the_momentum_goes_along_half_a_cosine(done, value):
    assert cosine_between(0.99, 0.999, done) == pytest.approx(value)
    card = 0.999 - (0.999 - 0.99) * (math.cos(math.pi * done) + 1) / 2
    assert cosine_between(0.99, 0.999, done) == pytest.approx(card)


def test_ema_moves_parameters_by_the_formula_and_leaves_buffers():
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    ema = EMA(network)
    before = [p.clone() for p in ema.average.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters()))
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn(p.shape))
    network(torch.randn(8, 3))
    buffers = [b.clone() for b in ema.average.buffers()]
    ema.update(0.9)
    for average, old, new in zip(ema.average.parameters(), before, network.parameters()):
        torch.testing.assert_close(average, 0.9 * old + 0.1 * new)
        assert not average.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(buffers, ema.average.buffers()))
    ema.update(0.0)
    assert all(torch.allclose(a, b) for a, b in zip(ema.average.parameters(), network.parameters()))


def test_an_average_with_a_schedule_follows_it_and_one_without_stays():
    network = nn.Linear(1, 1)
    following, resting = EMA(network, cosine([0.5, 1.0])), EMA(network)
    with torch.no_grad():
        network.weight.add_(1.0)
    start = float(resting.average.weight)
    for ema in (following, resting):
        ema.follow(0.0)
    assert float(following.average.weight) == pytest.approx(start + 0.5)
    assert float(resting.average.weight) == start
    following.follow(1.0)
    assert float(following.average.weight) == pytest.approx(start + 0.5)
    assert len(list(following.parameters())) == 2  # the network that it follows is no part of it


def test_a_gpu_holds_as_much_as_a_third_of_its_memory():
    assert Pixels.fit(4_000_000_000, 0) and not Pixels.fit(4_000_000_001, 0)
    assert Pixels.fit(12_500_000_000, 40e9) and not Pixels.fit(12_500_000_000, 24e9)
    assert Pixels.fit(4_000_000_000, 8e9)
