"""Every optimiser takes a step, each group at its own rate."""

from __future__ import annotations

import pytest
import torch

from clsp.training.config import PretrainConfig
from clsp.training.optimizers import build_optimizer


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_groups_keep_their_rates(name):
    fast, slow = (torch.nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    config = PretrainConfig(optimizer=name, lr=0.2, weight_decay=0.0)
    optimizer = build_optimizer([{"params": [fast], "lr": 0.2}, {"params": [slow], "lr": 0.01}], config)
    (fast.sum() + slow.sum()).backward()
    optimizer.step()
    moved = [float((1 - p.detach()).mean()) for p in (fast, slow)]
    assert moved[0] > 0
    assert moved[1] < moved[0]
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.01]


@pytest.mark.parametrize("decay", [0.1, 0.0])
def test_lars_is_solo_learns_formula_on_a_matrix(decay):
    p = torch.nn.Parameter(torch.full((2, 2), 3.0))
    config = PretrainConfig(optimizer="lars", lr=0.5, momentum=0.0, weight_decay=decay)
    optimizer = build_optimizer([{"params": [p], "lr": 0.5}], config)
    p.grad = torch.full((2, 2), 2.0)
    before, gradient = p.detach().clone(), p.grad.clone()
    optimizer.step()
    rate = 0.02 * before.norm() / (gradient.norm() + decay * before.norm() + 1e-8)
    step = 0.5 * min(float(rate) / 0.5, 1.0) * (gradient + decay * before)
    torch.testing.assert_close(p.detach(), before - step, rtol=1e-4, atol=1e-6)


def test_lars_moves_biases_and_batch_norm_at_the_global_rate_without_decay():
    """solo-learn's exclude_bias_n_norm: what has one dimension takes a step of plain SGD."""
    decay = 0.1
    weight, bias = torch.nn.Parameter(torch.full((2, 2), 3.0)), torch.nn.Parameter(torch.full((2,), 3.0))
    config = PretrainConfig(optimizer="lars", lr=0.5, momentum=0.0, weight_decay=decay)
    optimizer = build_optimizer([{"params": [weight, bias], "lr": 0.5}], config)
    weight.grad, bias.grad = torch.full((2, 2), 2.0), torch.full((2,), 2.0)
    optimizer.step()
    torch.testing.assert_close(bias.detach(), torch.full((2,), 3.0 - 0.5 * 2.0))
    rate = min(0.02 * 6.0 / (4.0 + decay * 6.0) / 0.5, 1.0)
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), 3.0 - 0.5 * rate * (2.0 + decay * 3.0)))
