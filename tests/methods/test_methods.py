"""SimCLR and MoCo are their cards."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clsp.encoders.config import ProjectorConfig
from clsp.methods import METHODS
from clsp.methods.base import Views, embed
from clsp.objectives.nt_xent import nt_xent
from tiny import crops, vit
from tiny import make as built

HEAD = ProjectorConfig(hidden=12, dim=8)


class Tiny(nn.Module):
    """A convolution, BatchNorm, and the mean over the image."""

    num_features = 5

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)

    def forward(self, x):
        return self.norm(self.conv(x)).relu().mean(dim=(2, 3))


def views(positive=True, seed=0, progress=0.0):
    generator = torch.Generator().manual_seed(seed)
    x = [torch.randn(8, 3, 6, 6, generator=generator) + 0.5 * n for n in range(3)]
    ids = torch.arange(8) + 100 * seed
    positive = x[2] if positive else None
    return Views(x[0], x[1], positive, ids, progress, torch.arange(8) // 2, seed, crops(ids, seed))


def make(method, mode="joint"):
    torch.manual_seed(0)
    encoder = vit(6, channels=3) if METHODS[method].patches else Tiny()
    own = {"memory": 20} if method == "moco" else {}
    return built(method, encoder, projector=HEAD, batch_norm=mode, **own)


def test_simclr_is_nt_xent_of_its_projections():
    method, batch = make("simclr").eval(), views()
    z1, z2, z3 = (method.network(x) for x in (batch.first, batch.second, batch.positive))
    output = method(batch)
    assert list(output.terms) == ["nt_xent"]
    torch.testing.assert_close(output.terms["nt_xent"], nt_xent(z1, z2, 0.2))
    for ours, expected in zip((output.first, output.second, *output.pair), (z1, z2, z1, z3)):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", METHODS.names())
def test_without_a_positive_there_is_no_pull_and_the_terms_are_the_hosts(name):
    method = make(name).eval()
    with_positive, without = method(views()), method(views(positive=False))
    assert without.pair is None
    assert with_positive.terms.keys() == without.terms.keys()
    for term, value in without.terms.items():
        torch.testing.assert_close(with_positive.terms[term], value)


PREDICTS = ("byol", "simsiam", "aps")
"""Methods in which the positive predicts the anchor, whose embedding is a target without gradient."""


@pytest.mark.parametrize("name", METHODS.names())
def test_the_pull_moves_the_positive_and_the_anchor_unless_it_is_a_target(name):
    method, batch = make(name), views()
    for part in (batch.first, batch.positive):
        part.requires_grad_()
    anchor, positive = method.eval()(batch).pair
    (anchor * positive).sum().backward()
    moved = batch.first.grad is not None and float(batch.first.grad.abs().max()) > 0
    assert moved == (name not in PREDICTS)
    assert float(batch.positive.grad.abs().max()) > 0


GROUPS = {"joint": [[0, 1, 2]], "split": [[0, 1], [2]], "views": [[0], [1], [2]]}


@pytest.mark.parametrize("mode", GROUPS)
def test_views_share_batch_norm_statistics_as_documented(mode):
    batch, encoder = views(), Tiny().train()
    x = [batch.first, batch.second, batch.positive]
    expected = [None] * 3
    for group in GROUPS[mode]:
        conv = encoder.conv(torch.cat([x[n] for n in group])).detach()
        normal = (conv - conv.mean((0, 2, 3), keepdim=True)) / (
            conv.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
        ).sqrt()
        for n, part in zip(group, normal.relu().mean((2, 3)).chunk(len(group))):
            expected[n] = part
    for ours, part in zip(embed(encoder, batch, mode), expected):
        torch.testing.assert_close(ours, part, rtol=1e-4, atol=1e-5)


def test_with_fixed_statistics_all_modes_agree():
    encoder = Tiny().eval()
    results = [embed(encoder, views(), mode) for mode in GROUPS]
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])
    assert embed(encoder, views(positive=False), "split")[2] is None


def test_without_a_positive_split_is_joint():
    encoder = Tiny().train()
    first, second = (embed(encoder, views(positive=False), mode) for mode in ("split", "joint"))
    assert all(torch.equal(a, b) for a, b in zip(first[:2], second[:2]))


def moco_loss(method, batch):
    """The card: 1/2 [InfoNCE(q1, k2, M2) + InfoNCE(q2, k1, M1)], M1 holds the keys of view 1."""
    q = [F.normalize(method.network(x), dim=1) for x in (batch.first, batch.second)]
    k = [F.normalize(method.momentum.average(x), dim=1) for x in (batch.first, batch.second)]
    loss = 0
    for query, key, memory in ((q[0], k[1], method.second_keys.rows), (q[1], k[0], method.first_keys.rows)):
        positive, negative = (query * key).sum(1) / 0.2, query @ memory.T / 0.2
        loss = loss + (-positive + torch.cat([positive[:, None], negative], 1).logsumexp(1)).mean() / 2
    return loss, k


def test_moco_is_the_cards_formula_and_its_memories_fill_with_the_keys_of_their_view():
    method = make("moco").eval()
    with torch.no_grad():  # a momentum network that is not the network
        for p in method.momentum.average.parameters():
            p.add_(0.3 * torch.randn(p.shape))
    for number in range(4):  # 32 keys in memories of 20
        batch = views(seed=number)
        expected, keys = moco_loss(method, batch)
        before = method.first_keys.rows.clone()
        torch.testing.assert_close(method(batch).terms["info_nce"], expected)
        assert torch.equal(method.first_keys.rows, before)  # searched before it is added to
        method.after_step()
        for memory, key in zip((method.first_keys, method.second_keys), keys):
            places = [memory.ids.tolist().index(int(i)) for i in batch.ids]
            torch.testing.assert_close(memory.rows[places], key)
    for memory in (method.first_keys, method.second_keys):
        assert sorted(memory.ids.tolist()) == [*range(104, 108), *range(200, 208), *range(300, 308)]


@pytest.mark.parametrize(("progress", "decay"), [(0.0, 0.99), (0.5, 0.9945)])
def test_momentum_parameters_move_by_the_formula_and_buffers_are_its_own(progress, decay):
    method = make("moco").train()
    with torch.no_grad():
        for p in method.network.parameters():
            p.add_(torch.randn(p.shape))
    old = copy.deepcopy(method.momentum.average.state_dict())
    method.before_step(progress)
    named = dict(method.network.named_parameters())
    for name, value in method.momentum.average.state_dict().items():
        expected = decay * old[name] + (1 - decay) * named[name] if name in named else old[name]
        torch.testing.assert_close(value, expected.detach())
    method(views())  # its own batch statistics move its buffers
    assert not torch.equal(
        method.momentum.average.state_dict()["encoder.norm.running_mean"], old["encoder.norm.running_mean"]
    )


def test_no_gradient_enters_the_momentum_network_or_the_memories():
    method = make("moco").train()
    method(views()).terms["info_nce"].backward()
    assert all(p.grad is None and not p.requires_grad for p in method.momentum.parameters())
    assert all(p.grad is not None for p in method.network.parameters())
    assert not method.first_keys.rows.requires_grad


def test_moco_keys_do_not_see_the_positive():
    first, second = make("moco").train(), make("moco").train()
    first(views())
    second(views(positive=False))
    for a, b in zip(_noted(first), _noted(second)):
        assert torch.equal(a, b)


def _noted(moco):
    return [memory._noted[0] for memory in (moco.first_keys, moco.second_keys)]


def test_everything_that_must_survive_a_restart_is_in_the_state():
    method = make("moco").train()
    for number in range(2):
        method.before_step(0.1)
        method(views(seed=number))
        method.after_step()
    other = make("moco").train()
    other.load_state_dict(method.state_dict())
    batch = views(seed=5)
    assert torch.equal(method(batch).terms["info_nce"], other(batch).terms["info_nce"])
    names = set(method.state_dict())
    assert {f"{m}.{part}" for m in ("first_keys", "second_keys") for part in ("rows", "ids", "next")} <= names
    assert any(name.startswith("momentum.") for name in names)


def test_the_two_memories_start_apart_and_moco_trains_encoder_and_projector_alone():
    method = make("moco")
    assert not torch.equal(method.first_keys.rows, method.second_keys.rows)
    trained = [name for name, p in method.named_parameters() if p.requires_grad]
    assert {name.split(".")[0] for name in trained} == {"network"}
