"""Barlow Twins, VICReg, LeJEPA, SwAV, DINO and ReSSL are their cards: what is compared, and when targets move."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from clsp.encoders.config import PredictorConfig, ProjectorConfig
from clsp.encoders.heads import Heads
from clsp.encoders.prototypes import Prototypes
from clsp.methods.base import Views, embed_local
from clsp.methods.simsiam import SimSiam, SimSiamSettings
from clsp.objectives import redundancy
from clsp.objectives.distribution import sinkhorn
from clsp.objectives.gaussian import sigreg
from tiny import Tiny
from tiny import make as built

OWN = {
    "swav": {"prototypes": 7, "memory": 12},
    "dino": {"prototypes": 7, "teacher_warmup": 0.2},
    "ressl": {"memory": 20},
}


def views(seed=0, progress=0.5):
    generator = torch.Generator().manual_seed(seed)
    x = [torch.randn(6, 1, 5, 5, generator=generator) for _ in range(3)]
    return Views(x[0], x[1], x[2], torch.arange(6) + 10 * seed, progress)


def make(name, mode="joint"):
    torch.manual_seed(0)
    return built(name, Tiny(), projector=ProjectorConfig(hidden=12, dim=8), batch_norm=mode, **OWN.get(name, {}))


def embedded(method, batch):
    return [method.network(x) for x in (batch.first, batch.second, batch.positive)]


def cross(q, p, tau):
    return -(q * torch.log(torch.softmax(p / tau, dim=1))).sum(dim=1).mean()


def cosine(z, c):
    return F.normalize(z, dim=1) @ F.normalize(c, dim=1).T


def test_barlow_and_vicreg_weigh_their_terms():
    method, batch = make("barlow").eval(), views()
    z1, z2, z3 = embedded(method, batch)
    output = method(batch)
    torch.testing.assert_close(output.terms["barlow"], 0.1 * redundancy.barlow_twins(z1, z2, 0.0051))
    torch.testing.assert_close(output.pair, (z1, z3))
    method = make("vicreg").eval()
    z1, z2, _ = embedded(method, batch)
    invariance, variance, covariance = redundancy.vicreg(z1, z2)
    terms = method(batch).terms
    torch.testing.assert_close(terms["invariance"], 25 * invariance)
    torch.testing.assert_close(terms["variance"], 25 * variance)
    torch.testing.assert_close(terms["covariance"], covariance)


def test_byol_moves_predictions_alone_its_targets_hold_still():
    method, batch = make("byol").eval(), views()
    with torch.no_grad():
        t1, t2 = (method.target.average(x) for x in (batch.first, batch.second))
    p1, p2 = (method.predictor(method.network(x)) for x in (batch.first, batch.second))
    expected = sum((2 - 2 * F.cosine_similarity(p, t, dim=1)).mean() for p, t in ((p1, t2), (p2, t1)))
    loss, moved = method(batch).terms["byol"], [p for p in method.parameters() if p.requires_grad]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, moved), torch.autograd.grad(expected, moved))


@pytest.mark.parametrize("predicts", [True, False])
@pytest.mark.parametrize("stops", [True, False])
def test_simsiams_switches_leave_out_the_predictor_and_let_targets_move(predicts, stops):
    heads = Heads(projector=ProjectorConfig(hidden=12, dim=8), predictor=PredictorConfig(hidden=16))
    settings = SimSiamSettings(predictor=predicts, stop_gradient=stops)
    method, batch = SimSiam(Tiny(), heads, settings, seed=0).eval(), views()
    z1, z2, _ = embedded(method, batch)
    p1, p2 = (method.predictor(z) if predicts else z for z in (z1, z2))
    t1, t2 = (z1.detach(), z2.detach()) if stops else (z1, z2)
    expected = -0.5 * sum(F.cosine_similarity(p, t, dim=1).mean() for p, t in ((p1, t2), (p2, t1)))
    loss, moved = method(batch).terms["simsiam"], [p for group in method.groups() for p in group.parameters]
    assert any(p is q for p in method.predictor.parameters() for q in moved) == predicts
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, moved), torch.autograd.grad(expected, moved))


def test_swav_swaps_the_codes_of_the_batch_and_later_of_a_full_memory():
    method = make("swav").eval()
    first = []
    for number in range(3):  # 12 rows: full after two batches
        batch = views(seed=number)
        z = embedded(method, batch)[:2]
        p = [cosine(x, method.prototypes.weight) for x in z]
        rows = [memory.rows for memory in (method.first_memory, method.second_memory)]
        extra = [cosine(r, method.prototypes.weight) if number == 2 else torch.empty(0, 7) for r in rows]
        q = [sinkhorn(torch.cat((a, b)).detach(), 0.05, 3)[:6] for a, b in zip(p, extra)]
        expected = 0.5 * cross(q[0], p[1], 0.1) + 0.5 * cross(q[1], p[0], 0.1)
        torch.testing.assert_close(method(batch).terms["swav"], expected)
        early = method(views(seed=number, progress=0.04)).terms["swav"]  # before the memories' start
        assert torch.isclose(early, method(batch).terms["swav"], rtol=1e-6) == (number < 2)
        method(batch)
        method.after_step()
        first.append(F.normalize(z[0], dim=1).detach())
    torch.testing.assert_close(method.first_memory.rows, torch.cat((first[2], first[1])))


@pytest.mark.parametrize(("name", "end"), [("swav", 0.002), ("dino", 0.001)])
def test_prototypes_rest_at_the_beginning(name, end):
    for progress, moves in ((0.0, False), (end, True)):
        method = make(name)
        sum(method(views(progress=progress)).terms.values()).backward()
        gradient = method.prototypes.weight.grad
        assert gradient is not None and bool(gradient.abs().max() > 0) == moves
        assert any(p.grad.abs().max() > 0 for p in method.encoder.parameters())


def test_prototypes_are_directions_in_full_precision():
    prototypes, z = Prototypes(7, 8), torch.randn(6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = prototypes(z)
    torch.testing.assert_close(found, cosine(z, prototypes.weight))
    with torch.no_grad():
        prototypes.weight.mul_(0.3)  # weight decay
    torch.testing.assert_close(prototypes(z), found)


def test_dino_predicts_the_centred_and_sharpened_teacher():
    method, batch = make("dino").eval(), views()
    method.center.value.copy_(0.1 * torch.arange(7.0))
    with torch.no_grad():
        for p in method.teacher.average.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    s = [cosine(z, method.prototypes.weight) for z in embedded(method, batch)[:2]]
    t = [method.teacher.average(x) for x in (batch.first, batch.second)]
    q = [torch.softmax((x - method.center.value) / 0.07, dim=1) for x in t]
    output = method(batch)
    torch.testing.assert_close(output.terms["dino"], 0.5 * cross(q[0], s[1], 0.1) + 0.5 * cross(q[1], s[0], 0.1))
    before = method.center.value.clone()
    method.after_step()
    torch.testing.assert_close(method.center.value, 0.9 * before + 0.1 * torch.cat(t).mean(dim=0))
    output.terms["dino"].backward()
    assert all(p.grad is None for p in method.teacher.parameters())


@pytest.mark.parametrize("mode", ["joint", "split", "views"])
def test_both_targets_are_predicted_from_each_local_crop(mode):
    generator = torch.Generator().manual_seed(9)
    local = tuple(torch.randn(6, 1, 4, 4, generator=generator) for _ in range(3))
    batch = replace(views(), local=local)
    for name in ("swav", "dino"):
        method = make(name, mode).eval()
        z = [*embedded(method, batch)[:2], *(method.network(crop) for crop in local)]
        p = [cosine(x, method.prototypes.weight) for x in z]
        if name == "swav":
            q = [sinkhorn(x.detach(), 0.05, 3) for x in p[:2]]
        else:
            q = [torch.softmax(method.teacher.average(x) / 0.07, dim=1) for x in (batch.first, batch.second)]
        pairs = [(i, v) for i in range(2) for v in range(5) if v != i]
        expected = sum(cross(q[i].detach(), p[v], 0.1) for i, v in pairs) / 8
        output = method(batch)
        torch.testing.assert_close(output.terms[name], expected)
        torch.testing.assert_close(output.first, z[0])
        output.terms[name].backward()
        assert method.encoder.conv.weight.grad.abs().sum() > 0


def test_local_crops_have_batchnorm_statistics_of_their_own():
    local = tuple(views(seed=seed).first + 3.0 * seed for seed in (1, 2))
    for mode in ("joint", "views"):
        network = torch.nn.BatchNorm2d(1)
        found = embed_local(network, replace(views(), local=local), mode)
        groups = [torch.cat(local)] if mode == "joint" else local
        expected = torch.cat([F.batch_norm(group, None, None, training=True) for group in groups])
        torch.testing.assert_close(torch.cat(found), expected)


def test_dinos_teacher_grows_softer_and_follows():
    method = make("dino")
    temperatures = [method.teacher_temperature(progress) for progress in (0.0, 0.1, 0.2, 0.9)]
    assert temperatures == pytest.approx([0.04, 0.055, 0.07, 0.07])
    old = method.teacher.average[1].weight.clone()
    with torch.no_grad():
        method.prototypes.weight.add_(1.0)
    method.before_step(0.0)
    torch.testing.assert_close(method.teacher.average[1].weight, old + 0.0005)


def test_ressl_compares_relations_and_remembers_the_weak_views_keys():
    method, batch = make("ressl").eval(), views()
    with torch.no_grad():
        for p in method.momentum.average.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    rows = method.memory.rows.clone()
    q = F.normalize(embedded(method, batch)[0], dim=1)
    k = F.normalize(method.momentum.average(batch.second), dim=1)
    output = method(batch)
    expected = cross(torch.softmax(k @ rows.T / 0.04, dim=1), q @ rows.T, 0.1)
    torch.testing.assert_close(output.terms["ressl"], expected)
    torch.testing.assert_close(method.memory.rows, rows)
    method.after_step()
    torch.testing.assert_close(method.memory.rows[:6], k.detach())
    assert method.memory.ids[:6].tolist() == batch.ids.tolist()


@pytest.mark.parametrize("mode", ["joint", "split", "views"])
def test_ressls_student_does_not_see_the_weak_view(mode):
    batch = views()
    batch.second.requires_grad_()
    first, _ = make("ressl", mode)(batch).pair
    first.sum().backward()
    assert batch.second.grad is None


def test_lejepa_weighs_its_terms_and_draws_other_directions_in_each_step():
    method, batch = built("lejepa", Tiny(), weight=0.3, directions=8).eval(), views()
    z = torch.stack([method.network(view) for view in (batch.first, batch.second)])
    drawn = [method._directions(step, z) for step in (0, 1)]
    assert not drawn[0].equal(drawn[1]) and drawn[0].equal(method._directions(0, z))
    torch.testing.assert_close(drawn[0].norm(dim=0), torch.ones(8))
    terms = method(batch).terms
    torch.testing.assert_close(terms["invariance"], 0.7 * (z[0] - z[1]).square().mean() / 4)
    torch.testing.assert_close(terms["gaussian"], 0.3 * sigreg(z, method._directions(batch.step, z)))
