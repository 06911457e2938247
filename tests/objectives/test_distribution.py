"""Soft targets: SwAV's and DINO's losses against lightly, ReSSL's against the golden numbers, and the laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss, SwaVLoss

from clsp.objectives.distribution import relational, sinkhorn, soft_cross_entropy, swapped_prediction


def golden(n, start):
    rows = torch.from_numpy(np.sin(start + np.arange(3 * n).reshape(n, 3)).astype(np.float64))
    return F.normalize(rows, dim=1)


def cosines(seed):
    generator = torch.Generator().manual_seed(seed)
    z, c = (F.normalize(torch.randn(n, 8, generator=generator), dim=1) for n in (12, 7))
    return z @ c.T


def test_one_hot_targets_are_the_cross_entropy():
    logits, classes = cosines(0), torch.arange(12) % 7
    ours = soft_cross_entropy(F.one_hot(classes, 7).float(), logits, 0.2)
    torch.testing.assert_close(ours, F.cross_entropy(logits / 0.2, classes))


def test_no_gradient_reaches_targets():
    targets, logits = torch.softmax(cosines(0), dim=1).requires_grad_(), cosines(1).requires_grad_()
    soft_cross_entropy(targets, logits, 0.1).backward()
    assert targets.grad is None and logits.grad.abs().sum() > 0
    assert not sinkhorn(logits, 0.05, 3).requires_grad


def test_two_views_predict_each_others_targets():
    p, q = [cosines(seed) for seed in (0, 1)], [torch.softmax(cosines(seed), dim=1) for seed in (2, 3)]
    expected = 0.5 * soft_cross_entropy(q[0], p[1], 0.1) + 0.5 * soft_cross_entropy(q[1], p[0], 0.1)
    torch.testing.assert_close(swapped_prediction(q, p, 0.1), expected)


@pytest.mark.parametrize("local", [0, 3])
def test_swavs_loss_and_gradient_are_lightlys(local):
    p = [cosines(seed).requires_grad_() for seed in range(2 + local)]
    ours = swapped_prediction([sinkhorn(logits, 0.05, 3) for logits in p[:2]], p, 0.1)
    theirs = SwaVLoss(temperature=0.1, sinkhorn_epsilon=0.05, sinkhorn_iterations=3)(p[:2], p[2:]).squeeze()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    torch.testing.assert_close(torch.autograd.grad(ours, p), torch.autograd.grad(theirs, p), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("local", [0, 3])
def test_dinos_loss_and_gradient_are_lightlys(local):
    students, teachers = [cosines(seed).requires_grad_() for seed in range(2 + local)], [cosines(5), cosines(6)]
    theirs = DINOLoss(output_dim=7, warmup_teacher_temp=0.04, teacher_temp=0.04, student_temp=0.1)
    expected = theirs(teachers, students, epoch=0)
    ours = swapped_prediction([torch.softmax(t / 0.04, dim=1) for t in teachers], students, 0.1)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=0)
    grads = [torch.autograd.grad(loss, students) for loss in (ours, expected)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-7)


def plain_sinkhorn(logits, epsilon, iterations):
    """As the paper's code has it: prototypes in rows, totals and counts written out."""
    q = np.exp(logits.numpy().astype(np.float64) / epsilon).T
    q /= q.sum()
    k, b = q.shape
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True) * k
        q /= q.sum(axis=0, keepdims=True) * b
    return (q * b).T


def test_codes_are_the_plain_iteration_and_use_all_prototypes_alike():
    logits = cosines(3)
    np.testing.assert_allclose(sinkhorn(logits, 0.05, 3).numpy(), plain_sinkhorn(logits, 0.05, 3), rtol=1e-4)
    settled = sinkhorn(logits, 0.05, 500)
    torch.testing.assert_close(settled.sum(dim=1), torch.ones(12))
    torch.testing.assert_close(settled.sum(dim=0), torch.full((7,), 12 / 7), rtol=1e-3, atol=0)


def test_a_sample_without_weight_does_not_count_and_one_of_two_counts_twice():
    logits, more = cosines(0), cosines(1)
    both = torch.cat((logits, more))
    none = sinkhorn(both, 0.05, 3, weights=torch.cat((torch.ones(12), torch.zeros(12))))[:12]
    torch.testing.assert_close(none, sinkhorn(logits, 0.05, 3))
    torch.testing.assert_close(sinkhorn(both, 0.05, 3, weights=torch.ones(24)), sinkhorn(both, 0.05, 3))
    double = sinkhorn(both, 0.05, 3, weights=torch.cat((torch.ones(12), torch.full((12,), 2.0))))[:12]
    torch.testing.assert_close(double, sinkhorn(torch.cat((both, more)), 0.05, 3)[:12])


def test_hard_codes_do_not_overflow():
    codes = sinkhorn(cosines(0), 1e-3, 3)
    assert torch.isfinite(codes).all()
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(12))


def test_relational_gives_the_golden_numbers():
    q, k, rows = golden(4, 1), golden(4, 2), golden(8, 3)
    assert float(relational(q, k, rows, 0.1, 0.04)) == pytest.approx(3.5095642675165557, rel=1e-9)
    q.requires_grad_()
    same = relational(q, q.detach(), rows, 0.1, 0.1)
    assert float(same) == pytest.approx(0.5821863403990625, rel=1e-9)  # the entropy of the relation
    assert float(torch.autograd.grad(same, q)[0].abs().max()) < 1e-12


def test_no_gradient_reaches_keys_and_memory():
    q, k, rows = (x.requires_grad_() for x in (golden(4, 1), golden(4, 2), golden(8, 3)))
    relational(q, k, rows, 0.1, 0.04).backward()
    assert q.grad is not None and k.grad is None and rows.grad is None
