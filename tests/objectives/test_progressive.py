"""CLIP's loss and its progressive form: the formulas, and the laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clsp.objectives.progressive import progressive_clip
from gloo import two


def drawn(seed, rows=6):
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


SCALE = torch.tensor(7.0, dtype=torch.float64)


def clip(v, t, scale):
    """As CLIP's paper writes it, in numpy's words."""
    logits = F.normalize(v, dim=1) @ F.normalize(t, dim=1).T * scale
    labels = torch.arange(len(v))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


@pytest.mark.parametrize("soft", [None, torch.zeros(6, dtype=torch.bool)])
def test_without_soft_rows_it_is_clips_to_the_bit(soft):
    v, t = drawn(0), drawn(1)
    assert torch.equal(progressive_clip(v, t, SCALE, soft=soft), progressive_clip(v, t, SCALE))
    torch.testing.assert_close(progressive_clip(v, t, SCALE, soft=soft), clip(v, t, SCALE))


@pytest.mark.parametrize("swapped", [False, True])
def test_soft_rows_learn_what_the_model_says(swapped):
    v, t = drawn(0), drawn(1)
    soft = torch.tensor([True, False, True, False, False, True])
    found = progressive_clip(v, t, SCALE, soft=soft, sharpness=9 / 7, swapped=swapped)
    u, w = F.normalize(v, dim=1), F.normalize(t, dim=1)
    total = 0.0
    for one, other in ((u, w), (w, u)):
        for i in range(6):
            said = (7.0 * one[i] @ other.T).log_softmax(dim=0)
            asked = other[i] @ one.T if swapped else one[i] @ other.T
            target = (9.0 * asked).softmax(dim=0).detach() if soft[i] else F.one_hot(torch.tensor(i), 6).double()
            total = total - (target * said).sum() / 12
    torch.testing.assert_close(found, total)
    torch.testing.assert_close(torch.autograd.grad(found, (v, t)), torch.autograd.grad(total, (v, t)))


def test_what_is_sure_of_its_own_pairs_learns_nothing_from_soft_rows():
    """The target is then the pair itself, and the loss is the same either way."""
    v = torch.eye(6, dtype=torch.float64)
    scale, soft = torch.tensor(60.0, dtype=torch.float64), torch.ones(6, dtype=torch.bool)
    hard, taught = progressive_clip(v, v, scale), progressive_clip(v, v, scale, soft=soft)
    torch.testing.assert_close(hard, taught, atol=1e-12, rtol=0)


def test_smoothing_is_torchs():
    v, t = drawn(0), drawn(1)
    logits = F.normalize(v, dim=1) @ F.normalize(t, dim=1).T * SCALE
    ways = [F.cross_entropy(way, torch.arange(6), label_smoothing=0.2) for way in (logits, logits.T)]
    torch.testing.assert_close(progressive_clip(v, t, SCALE, smoothing=0.2), (ways[0] + ways[1]) / 2)


def _rank(rank):
    v, t = (drawn(seed).detach().float().requires_grad_() for seed in (0, 1))
    part, soft = slice(3 * rank, 3 * rank + 3), torch.tensor([True, False, True, False, False, True])
    loss = progressive_clip(v[part], t[part], torch.tensor(7.0), soft=soft[part], swapped=True)
    loss.backward()
    return {"loss": loss.detach(), "v": v.grad, "t": t.grad}


def test_two_processes_are_one(tmp_path):
    parts = two(_rank, tmp_path)
    v, t = (drawn(seed).detach().float().requires_grad_() for seed in (0, 1))
    soft = torch.tensor([True, False, True, False, False, True])
    loss = progressive_clip(v, t, torch.tensor(7.0), soft=soft, swapped=True)
    loss.backward()
    np.testing.assert_allclose(sum(part["loss"] for part in parts) / 2, float(loss), rtol=1e-5)
    for name, tensor in (("v", v), ("t", t)):
        np.testing.assert_allclose(sum(p[name] for p in parts) / 2, tensor.grad.numpy(), rtol=1e-4, atol=1e-6)
