"""The laws of weights, masks and gradients, once for all methods. A new method must say below what repels in it.

BatchNorm and dropout are in eval mode: an image's embedding is then its own, and a batch can be taken apart.
"""

from __future__ import annotations

import copy
from dataclasses import fields, replace

import pytest
import torch

from clsp.encoders.memory import Deferred, Memory
from clsp.engine.ema import EMA
from clsp.errors import UserError
from clsp.methods import METHODS
from clsp.methods.base import Views
from clsp.objectives.alignment import alignment
from clsp.positives.placement import Host
from clsp.training.checks import check_together
from clsp.training.config import PositiveConfig
from tiny import Tiny, crops, for_method, make, small, vit

REPELS = {
    **dict.fromkeys(("simclr", "mocov3", "nnclr", "all4one", "aps", "supcon"), "batch"),
    "moco": "memory",
    # ReSSL relates images to a memory, and clusters and features are no images.
    **dict.fromkeys(("byol", "simsiam", "barlow", "vicreg", "swav", "dino", "ressl", "simple", "lejepa"), "nothing"),
}
"""What holds a method's negatives."""

BATCH = [name for name in METHODS.names() if REPELS.get(name) == "batch"]
WEIGHING = [name for name, made in METHODS.items() if made.weighs_pairs]
AVERAGING = [name for name in METHODS.names() if "momentum" in {item.name for item in fields(METHODS[name].Settings)}]
FREE = ("feature",)
"""Terms in which no image repels another."""


def test_every_method_says_what_repels_in_it():
    assert REPELS.keys() == set(METHODS.names())


def build(name, **own):
    torch.manual_seed(0)
    method = make(name, vit(6) if METHODS[name].patches else Tiny(), **small(name, **own)).eval()
    with torch.no_grad():  # an average that is not the network
        for part in method.modules():
            for p in part.average.parameters() if isinstance(part, EMA) else ():
                p.add_(0.1 * torch.randn(p.shape))
    return method


def views(seed=0, count=8, **more):
    generator = torch.Generator().manual_seed(seed)
    x = [torch.randn(count, 1, 6, 6, generator=generator) for _ in range(3)]
    ids = torch.arange(count) + 100 * seed
    labels = torch.arange(count) % (count // 2) // 2 + 10 * (torch.arange(count) >= count // 2)
    return replace(Views(x[0], x[1], x[2], ids, 0.5, labels, seed, crops(ids, seed)), **more)


def part_of(batch, rows):
    """Some images of a batch as a batch."""
    names = ("first", "second", "positive", "ids", "labels")
    pieces = tuple(crop.of(rows) for crop in batch.crops)
    return replace(batch, **{name: getattr(batch, name)[rows] for name in names}, crops=pieces)


def settled(name, **own):
    """A method whose memories hold images."""
    method = build(name, **own)
    for seed in (1, 2):
        method(views(seed))
        method.after_step()
    return method


def loss(method, batch):
    return torch.stack(list(method(batch).terms.values())).sum()


@pytest.mark.parametrize("name", WEIGHING)
def test_weights_of_1_are_none_and_the_loss_is_linear_in_the_weights(name):
    method, weights = settled(name), torch.rand(8)
    plain = loss(method, views())
    torch.testing.assert_close(loss(method, views(pair_weights=torch.ones(8))), plain)
    singles = torch.stack([loss(method, views(pair_weights=one)) for one in torch.eye(8)])
    torch.testing.assert_close(singles.sum(), plain)
    torch.testing.assert_close((weights * singles).sum(), loss(method, views(pair_weights=weights)))
    assert float(singles.std()) > 1e-4 * float(singles.mean().abs())


@pytest.mark.parametrize("name", [name for name in METHODS.names() if name not in WEIGHING])
def test_who_cannot_weigh_pairs_refuses_to_in_one_line(make_images, tiny_pretrain, name):
    positive = PositiveConfig(source="frames", placement="host", host=Host(weigh="loss"))
    with pytest.raises(UserError, match=rf"method {name} cannot weigh pairs; choose .*host.weigh chance") as refused:
        check_together(tiny_pretrain(**for_method(name, positive=positive)), make_images())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", METHODS.names())
def test_an_empty_mask_is_no_mask_and_an_image_is_no_negative_of_itself(name):
    method, batch = settled(name), views()
    plain = loss(method, batch)
    for mask in (torch.zeros(8, 8).bool(), torch.eye(8).bool()):
        assert torch.equal(loss(method, replace(batch, ignore=mask, shown=torch.full((8,), -7))), plain)


@pytest.mark.parametrize("name", BATCH)
def test_images_that_ignore_each_other_are_as_if_they_were_in_different_batches(name):
    """The law of masks: what is masked is in no denominator, and all else is."""
    method, batch = settled(name), views()
    halves = torch.arange(8).chunk(2)
    side = torch.arange(8) >= 4
    found = method(replace(batch, ignore=side[:, None] != side)).terms
    apart = [method(part_of(batch, rows)).terms for rows in halves]
    plain = method(batch).terms
    repelling = [term for term in found if term not in FREE]
    assert repelling
    for term in repelling:
        torch.testing.assert_close(found[term], (apart[0][term] + apart[1][term]) / 2)
        assert float(found[term]) < float(plain[term])


@pytest.mark.parametrize("name", BATCH)
def test_without_a_negative_nothing_is_left_to_tell_apart(name):
    method = settled(name)
    batch = views(ignore=torch.ones(8, 8).bool(), labels=torch.arange(8))
    for term, value in method(batch).terms.items():
        if term not in FREE:
            assert float(value) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("name", BATCH)
def test_no_gradient_reaches_an_image_from_an_anchor_that_ignores_it(name):
    method = settled(name)
    mask = torch.zeros(8, 8).bool()
    mask[0, 1:] = mask[1:, 0] = True
    batch = views(ignore=mask, labels=torch.arange(8))
    for part in (batch.first, batch.second):
        part.requires_grad_()
    torch.stack([value for term, value in method(batch).terms.items() if term not in FREE]).sum().backward()
    moved = [float(part.grad[row].abs().max()) for part in (batch.first, batch.second) for row in (0, 1)]
    assert moved[0] == pytest.approx(0.0, abs=1e-6) and moved[2] == pytest.approx(0.0, abs=1e-6)
    assert max(moved[1], moved[3]) > 1e-5


@pytest.mark.parametrize("name", [name for name, where in REPELS.items() if where == "memory"])
def test_the_rows_of_a_positive_are_as_if_they_were_not_in_the_memory(name):
    method = settled(name)
    shown = torch.tensor([100, 101, 205, 3, 207, 102, 200, -7])  # of two batches, of none, and still random
    batch = views(pair_weights=torch.eye(8)[0])
    found = loss(method, views(shown=shown))
    total = 0.0
    for row in range(8):
        fewer = copy.deepcopy(method)
        for memory in (part for part in fewer.modules() if isinstance(part, Memory)):
            kept = memory.ids != shown[row]
            memory.rows, memory.ids = memory.rows[kept], memory.ids[kept]
        total = total + loss(fewer, replace(batch, pair_weights=torch.eye(8)[row]))
    torch.testing.assert_close(found, total)
    assert float(found) < float(loss(method, views()))


@pytest.mark.parametrize("name", [name for name, where in REPELS.items() if where == "nothing"])
def test_where_nothing_repels_a_mask_changes_nothing(name):
    method = settled(name)
    assert torch.equal(loss(method, views(ignore=torch.ones(8, 8).bool(), shown=views(1).ids)), loss(method, views()))


@pytest.mark.parametrize("name", METHODS.names())
def test_no_gradient_reaches_averages_or_memories_and_it_reaches_all_that_is_trained(name):
    method = settled(name)
    output = method(views())
    (torch.stack(list(output.terms.values())).sum() + alignment(*output.pair)).backward()
    frozen = [p for part in method.modules() if isinstance(part, EMA) for p in part.parameters()]
    assert all(not p.requires_grad and p.grad is None for p in frozen)
    assert bool(frozen) == (name in AVERAGING)
    assert not any(buffer.requires_grad for buffer in method.buffers())
    trained = {id(p) for group in method.groups() for p in group.parameters}
    assert trained == {id(p) for p in method.parameters()} - {id(p) for p in frozen}
    still = [n for n, p in method.named_parameters() if id(p) in trained and p.grad is None]
    assert [n for n in still if not (METHODS[name].patches and "encoder" in n)] == []


@pytest.mark.parametrize("name", AVERAGING)
def test_no_gradient_goes_back_through_an_average_to_what_it_saw(name):
    (average,) = (part for part in settled(name).modules() if isinstance(part, EMA))
    seen = views().first.requires_grad_()
    assert not average(seen).requires_grad


@pytest.mark.parametrize("name", AVERAGING)
def test_averages_follow_before_a_step_by_their_momentum_at_its_place_in_the_training(name):
    for progress, decay in ((0.0, 0.5), (0.5, 0.55), (1.0, 0.6)):
        method = build(name, momentum=[0.5, 0.6])
        (average,) = (part for part in method.modules() if isinstance(part, EMA))
        old = [p.clone() for p in average.parameters()]
        new = [p.detach().clone() for p in average._followed[0].parameters()]
        assert {id(p) for p in average._followed[0].parameters()} <= {id(p) for p in method.parameters()}
        method.before_step(progress)
        for before, followed, now in zip(old, new, average.parameters(), strict=True):
            torch.testing.assert_close(now, decay * before + (1 - decay) * followed)
        assert any(not torch.equal(before, now) for before, now in zip(old, average.parameters()))


@pytest.mark.parametrize("name", METHODS.names())
def test_what_a_method_remembers_changes_after_the_step_and_not_before(name):
    method = build(name)
    parts = {n: part for n, part in method.named_modules() if isinstance(part, Deferred)}
    assert bool(parts) >= ("memory" in {item.name for item in fields(METHODS[name].Settings)})
    before = {n: {key: value.clone() for key, value in part.state_dict().items()} for n, part in parts.items()}
    method(views())
    for n, part in parts.items():
        assert all(torch.equal(value, before[n][key]) for key, value in part.state_dict().items())
    method.after_step()
    for n, part in parts.items():
        assert any(not torch.equal(value, before[n][key]) for key, value in part.state_dict().items())
        if isinstance(part, Memory):
            assert part.ids[:8].tolist() == views().ids.tolist()
            torch.testing.assert_close(part.rows.norm(dim=1), torch.ones(len(part.rows)))
    now = {n: {key: value.clone() for key, value in part.state_dict().items()} for n, part in parts.items()}
    method.after_step()  # nothing was noted since
    for n, part in parts.items():
        assert all(torch.equal(value, now[n][key]) for key, value in part.state_dict().items())
