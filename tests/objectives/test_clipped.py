"""The clipped loss against the golden numbers, and what it leaves out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clsp.objectives.clipped import clipped_nt_xent
from gloo import two


def waves(start):
    return torch.from_numpy(np.sin(start + np.arange(12).reshape(4, 3)))


@pytest.mark.parametrize(("count", "golden"), [(0, 4.222582009660378), (2, 0.00028651999922757465)])
def test_the_golden_numbers(count, golden):
    assert float(clipped_nt_xent(waves(1), waves(2), 0.1, count=count)) == pytest.approx(golden, rel=1e-9)


def drawn(seed, rows=6):
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)


def plain(a, b, temperature, keep):
    """The formula, a view at a time; ``keep`` chooses among a view's negatives by their cosines, most similar first."""
    views = F.normalize(torch.cat((a, b)), dim=1)
    count, losses = len(a), []
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        cosines = views @ views[i]
        others = sorted((j for j in range(2 * count) if j not in (i, partner)), key=lambda j: -cosines[j])
        kept = [cosines[partner], *(cosines[j] for j in keep(others, cosines))]
        losses.append(torch.logsumexp(torch.stack(kept) / temperature, dim=0) - cosines[partner] / temperature)
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    ("clip", "keep"),
    [
        ({"count": 3}, lambda others, cosines: others[3:]),
        ({"threshold": 0.3}, lambda others, cosines: [j for j in others if cosines[j] <= 0.3]),
        ({"count": 1, "threshold": 0.5}, lambda others, cosines: [j for j in others[1:] if cosines[j] <= 0.5]),
        ({"count": 99}, lambda others, cosines: []),
    ],
)
def test_loss_and_gradient_are_those_of_the_formula(clip, keep):
    a, b = drawn(0), drawn(1)
    ours, expected = clipped_nt_xent(a, b, 0.2, **clip), plain(a, b, 0.2, keep)
    torch.testing.assert_close(ours, expected)
    grads = (torch.autograd.grad(loss, (a, b), allow_unused=True) for loss in (ours, expected))
    torch.testing.assert_close(*grads)


def _rank(rank):
    a, b = (drawn(seed).detach().float().requires_grad_() for seed in (0, 1))
    part = slice(3 * rank, 3 * rank + 3)
    loss = clipped_nt_xent(a[part], b[part], 0.2, count=2)
    loss.backward()
    return {"loss": loss.detach(), "a": a.grad, "b": b.grad}


def test_two_processes_are_one(tmp_path):
    parts = two(_rank, tmp_path)
    a, b = (drawn(seed).detach().float().requires_grad_() for seed in (0, 1))
    loss = clipped_nt_xent(a, b, 0.2, count=2)
    loss.backward()
    np.testing.assert_allclose(sum(part["loss"] for part in parts) / 2, float(loss), rtol=1e-5)
    for name, tensor in (("a", a), ("b", b)):
        np.testing.assert_allclose(sum(p[name] for p in parts) / 2, tensor.grad.numpy(), rtol=1e-4, atol=1e-6)
