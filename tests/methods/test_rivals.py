"""The rivals are their cards: output written plainly, no gradient into targets, memories searched before they fill."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NegativeCosineSimilarity

from clsp.encoders.config import PredictorConfig, ProjectorConfig
from clsp.errors import UserError
from clsp.methods import METHODS
from clsp.methods.all4one import first_output, position_code
from clsp.methods.base import Views
from clsp.objectives.alignment import alignment, negative_cosine
from clsp.objectives.correlation import feature_agreement
from clsp.objectives.nt_xent import nt_xent
from clsp.objectives.paired_nce import paired_nce
from clsp.objectives.sup_con import sup_con
from tiny import Tiny, crops, vit
from tiny import make as built


def views(seed=0, positive=True, labels=None):
    generator = torch.Generator().manual_seed(seed)
    x = [torch.randn(6, 1, 5, 5, generator=generator) for _ in range(3)]
    ids = torch.arange(6) + 10 * seed
    return Views(x[0], x[1], x[2] if positive else None, ids, 0.0, labels, seed, crops(ids, seed))


def make(name):
    torch.manual_seed(0)
    own = {"nnclr": {"memory": 20}, "all4one": {"memory": 20, "dropout": 0.0}}.get(name, {})
    heads = {"projector": ProjectorConfig(hidden=12, dim=8), "predictor": PredictorConfig(hidden=10)}
    return built(name, vit(5) if METHODS[name].patches else Tiny(), **heads, **own)


def n(x):
    return F.normalize(x, dim=1)


def cross_entropy(rows, columns, tau):
    """NNCLR's loss, element by element."""
    logits = (n(rows) @ n(columns).T / tau).double().detach().numpy()
    return -np.mean([row[i] - np.log(np.exp(row).sum()) for i, row in enumerate(logits)])


def test_paired_nce_is_the_plain_cross_entropy_and_weights_scale_it():
    a, b, w = torch.randn(6, 8), torch.randn(6, 8), torch.rand(6)
    assert float(paired_nce(a, b, 0.2)) == pytest.approx(cross_entropy(a, b, 0.2), rel=1e-5)
    torch.testing.assert_close(paired_nce(a, b, 0.2, weights=torch.ones(6)), paired_nce(a, b, 0.2))
    torch.testing.assert_close(paired_nce(a, b, 0.2, weights=2 * w), 2 * paired_nce(a, b, 0.2, weights=w))


def test_sup_con_is_the_plain_sum_and_nt_xent_where_all_labels_differ():
    z1, z2, labels = torch.randn(6, 8), torch.randn(6, 8), torch.tensor([0, 1, 0, 2, 1, 0])
    z, y = n(torch.cat((z1, z2))).double(), labels.repeat(2)
    s = (z @ z.T / 0.1).numpy()
    total = []
    for i in range(12):
        others = [a for a in range(12) if a != i]
        log_sum = np.log(np.exp(s[i, others]).sum())
        total.append(-np.mean([s[i, p] - log_sum for p in others if y[p] == y[i]]))
    assert float(sup_con(z1, z2, labels, 0.1)) == pytest.approx(np.mean(total), rel=1e-4)
    torch.testing.assert_close(sup_con(z1, z2, torch.arange(6), 0.2), nt_xent(z1, z2, 0.2))


def test_negative_cosine_and_byols_distance_are_lightlys():
    p, z = torch.randn(6, 8), torch.randn(6, 8)
    torch.testing.assert_close(negative_cosine(p, z), NegativeCosineSimilarity()(p, z))
    torch.testing.assert_close(alignment(p, z), 2 + 2 * NegativeCosineSimilarity()(p, z))


def test_feature_agreement_is_the_cards_formula():
    t1, t2, z1, z2 = (np.random.default_rng(i).normal(size=(6, 4)) for i in range(4))

    def correlate(a, b):
        return (a / np.linalg.norm(a, axis=0)).T @ (b / np.linalg.norm(b, axis=0))

    c1, c2 = correlate(t1, z2), correlate(t2, z1)
    rest = ~np.eye(4, dtype=bool)
    on = np.sqrt(0.5 * (((np.diag(c1) - 1) ** 2).mean() + ((np.diag(c2) - 1) ** 2).mean()))
    off = np.sqrt(0.5 * ((c1[rest] ** 2).mean() + (c2[rest] ** 2).mean()))
    ours = feature_agreement(*(torch.tensor(x) for x in (t1, t2, z1, z2)))
    assert float(ours) == pytest.approx(10 * (0.5 * on + 0.5 * off), rel=1e-6)


def test_position_code_runs_along_the_features():
    code, j = position_code(5, 16), torch.arange(16).float()
    torch.testing.assert_close(code[0], j.sin())
    torch.testing.assert_close(code[1], j.cos())
    torch.testing.assert_close(code[4], (j * 10000 ** (-4 / 6)).sin())


def test_byol_sums_two_distances_to_targets_that_get_no_gradient():
    method, batch = make("byol").eval(), views()
    output = method(batch)
    z = [method.network(x) for x in (batch.first, batch.second)]
    t = [method.target.average(x) for x in (batch.first, batch.second)]
    p = [method.predictor(x) for x in z]
    expected = sum((2 - 2 * (n(a) * n(b)).sum(1)).mean() for a, b in ((p[0], t[1]), (p[1], t[0])))
    torch.testing.assert_close(output.terms["byol"], expected)
    (output.terms["byol"] + alignment(*output.pair)).backward()
    assert all(q.grad is None for q in method.target.parameters())
    assert not output.pair[0].requires_grad and output.pair[1].requires_grad


def test_simsiam_stops_the_gradient_and_keeps_the_predictors_rate():
    method, batch = make("simsiam").eval(), views()
    output = method(batch)
    z = [method.network(x) for x in (batch.first, batch.second)]
    p = [method.predictor(x) for x in z]
    expected = -0.5 * ((n(p[0]) * n(z[1])).sum(1).mean() + (n(p[1]) * n(z[0])).sum(1).mean())
    torch.testing.assert_close(output.terms["simsiam"], expected)
    assert not output.pair[0].requires_grad
    stopped = -0.5 * ((n(p[0]) * n(z[1].detach())).sum(1).mean() + (n(p[1]) * n(z[0].detach())).sum(1).mean())
    parameters = list(method.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(output.terms["simsiam"], parameters), torch.autograd.grad(stopped, parameters)
    )
    trunk, head = method.groups()
    assert trunk.decays and not head.decays
    assert {id(q) for q in head.parameters} == {id(q) for q in method.predictor.parameters()}


def test_mocov3_is_twice_tau_times_both_directions():
    method, batch = make("mocov3").eval(), views()
    q = [method.predictor(method.network(x)) for x in (batch.first, batch.second)]
    k = [method.momentum.average(x) for x in (batch.first, batch.second)]
    expected = 2 * 0.2 * (cross_entropy(q[0], k[1], 0.2) + cross_entropy(q[1], k[0], 0.2))
    assert float(method(batch).terms["mocov3"]) == pytest.approx(expected, rel=1e-4)


def test_nnclr_takes_the_nearest_row_as_positive_and_remembers_the_first_views_afterwards():
    method, batch = make("nnclr").eval(), views()
    rows = method.memory.rows.clone()
    z = [method.network(x) for x in (batch.first, batch.second)]
    p = [method.predictor(x) for x in z]
    found = [rows[(n(x) @ rows.T).argmax(dim=1)] for x in z]
    expected = 0.5 * cross_entropy(found[0], p[1], 0.2) + 0.5 * cross_entropy(found[1], p[0], 0.2)
    output = method(batch)
    assert float(output.terms["nnclr"]) == pytest.approx(expected, rel=1e-4)
    assert (output.neighbours == -1).all()
    torch.testing.assert_close(method.memory.rows, rows)
    method.after_step()
    torch.testing.assert_close(method.memory.rows[:6], n(z[0]).detach())
    assert (method(batch).neighbours == batch.ids).all()


def test_the_transformers_first_output_and_its_gradient_need_no_other_output_of_the_last_layer():
    transformer, tokens = make("all4one").train().transformer, torch.randn(4, 5, 8, requires_grad=True)
    found, expected = first_output(transformer, tokens), transformer(tokens)[:, 0]
    torch.testing.assert_close(found, expected)
    wanted = [tokens, *transformer.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(found.square().sum(), wanted), torch.autograd.grad(expected.square().sum(), wanted)
    )


def test_all4one_refuses_a_memory_that_holds_fewer_than_its_neighbours():
    with pytest.raises(UserError, match=r"looks for 5 neighbours: pretrain.all4one.memory 4 is less"):
        built("all4one", Tiny(), memory=4)


def test_all4one_is_half_of_three_terms():
    method, batch = make("all4one").eval(), views()
    rows, position, transform = method.memory.rows.clone(), method.position, method.transformer
    z = [method.network(x) for x in (batch.first, batch.second)]
    t = [n(method.momentum.average(x)) for x in (batch.first, batch.second)]
    nn5 = [rows[(x @ rows.T).topk(5, dim=1).indices] for x in t]
    p, own = [method.predictor(x) for x in z], [method.centroid_predictor(x)[:, None] for x in z]
    c = [transform(f + position)[:, 0] for f in nn5]
    s = [transform(torch.cat((o, f[:, :4]), dim=1) + position)[:, 0] for o, f in zip(own, nn5)]
    neighbour = 0.5 * cross_entropy(nn5[0][:, 0], p[1], 0.2) + 0.5 * cross_entropy(nn5[1][:, 0], p[0], 0.2)
    centroid = 0.5 * cross_entropy(c[0], s[1], 0.1) + 0.5 * cross_entropy(c[1], s[0], 0.1)
    terms = method(batch).terms
    assert float(terms["neighbour"]) == pytest.approx(0.5 * neighbour, rel=1e-4)
    assert float(terms["centroid"]) == pytest.approx(0.5 * centroid, rel=1e-4)
    torch.testing.assert_close(terms["feature"], 0.5 * feature_agreement(t[0], t[1], z[0], z[1]))
    method.after_step()
    torch.testing.assert_close(method.memory.rows[:6], t[0])


def test_supcon_says_that_it_needs_labels():
    with pytest.raises(UserError, match="needs labels"):
        make("supcon")(views())
    output = make("supcon")(views(labels=torch.tensor([0, 0, 1, 1, 2, 2])))
    assert torch.isfinite(output.terms["sup_con"])


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_trains_all_its_groups_and_keeps_its_state(name):
    method = make(name)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    grouped = [id(q) for group in method.groups() for q in group.parameters]
    assert sorted(grouped) == sorted(id(q) for q in method.parameters() if q.requires_grad)
    optimizer = torch.optim.SGD([q for group in method.groups() for q in group.parameters], 0.1)
    for step in range(2):
        method.before_step(step / 2)
        output = method(views(seed=step, labels=labels))
        loss = sum(output.terms.values()) + alignment(*output.pair)
        optimizer.zero_grad()
        loss.backward()
        assert any(q.grad is not None and q.grad.abs().sum() > 0 for q in method.encoder.parameters())
        optimizer.step()
        method.after_step()
    twin = make(name)
    twin.load_state_dict(copy.deepcopy(method.state_dict()))
    batch = views(seed=5, labels=labels)
    torch.manual_seed(1)
    ours = method.eval()(batch).terms
    torch.manual_seed(1)
    theirs = twin.eval()(batch).terms
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
