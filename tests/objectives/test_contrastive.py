"""NT-Xent and InfoNCE against the plain formula, lightly, and the golden numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightly.loss import NTXentLoss

from clsp.objectives.info_nce import info_nce
from clsp.objectives.nt_xent import nt_xent


def golden(n: int, d: int, start: int) -> torch.Tensor:
    """The inputs of the golden numbers: sin(s), sin(s + 1), ..."""
    return torch.from_numpy(np.sin(start + np.arange(n * d).reshape(n, d)).astype(np.float64))


def plain_nt_xent(z1, z2, tau, weights=None, ignore=None):
    """l_i = -s_ip + log sum_{j != i, j no ignored negative} exp s_ij, one number at a time."""
    z = np.concatenate([z1, z2]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    n = len(z1)
    losses = []
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        kept = [j for j in range(2 * n) if j != i and (j == partner or ignore is None or not ignore[i % n, j % n])]
        s = z[i] @ z.T / tau
        losses.append((-s[partner] + np.log(np.exp(s[kept]).sum())) * (1 if weights is None else weights[i % n]))
    return np.mean(losses)


def plain_info_nce(q, k, memory, tau, weights=None):
    q, k = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, k))
    positive, negative = (q * k).sum(1) / tau, q @ memory.T / tau
    losses = -positive + np.log(np.exp(positive) + np.exp(negative).sum(1))
    return np.mean(losses * (1 if weights is None else weights))


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 5, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)]


def gradients(loss, tensors):
    return torch.autograd.grad(loss, tensors)


@pytest.mark.parametrize("tau", [0.07, 0.2, 1.0])
def test_nt_xent_and_its_gradient_are_lightlys(pair, tau):
    ours, theirs = nt_xent(*pair, tau), NTXentLoss(tau)(*pair)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients(ours, pair), gradients(theirs, pair), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("tau", "weights", "value"),
    [
        (0.1, None, 4.222582009660378),  # golden.py: clipped c=0
        (0.1, None, 8.445164019320757 / 2),  # golden.py: ivpp simclr is the sum of the two halves
        (0.1, [1, 0.75, 0.5, 0.25], 5.34174882801125 / 2),  # golden.py: ivpp simclr, weighted
        (0.25, None, 2.0252414561940713),  # golden.py: mecoq simple
    ],
)
def test_nt_xent_gives_the_golden_numbers(tau, weights, value):
    weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    assert float(nt_xent(golden(4, 3, 1), golden(4, 3, 2), tau, weights=weights)) == pytest.approx(value, rel=1e-9)


def test_nt_xent_is_the_plain_formula_with_weights_and_ignored_negatives(pair):
    rng = np.random.default_rng(0)
    weights, ignore = rng.random(6), rng.random((6, 6)) < 0.4
    z1, z2 = (z.detach().numpy() for z in pair)
    for w, m in [(None, None), (weights, None), (None, ignore), (weights, ignore)]:
        options = {"weights": None if w is None else torch.from_numpy(w)}
        options["ignore"] = None if m is None else torch.from_numpy(m)
        expected = plain_nt_xent(z1, z2, 0.3, w, m)
        assert float(nt_xent(*pair, 0.3, **options)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("objective", ["nt_xent", "info_nce"])
def test_weight_one_is_unweighted_and_weights_scale(pair, objective):
    memory = torch.nn.functional.normalize(golden(7, 5, 3), dim=1)
    call = {"nt_xent": lambda w: nt_xent(*pair, 0.2, weights=w),
            "info_nce": lambda w: info_nce(*pair, memory, 0.2, weights=w)}[objective]  # fmt: skip
    ones = torch.ones(6, dtype=torch.float64)
    torch.testing.assert_close(call(ones), call(None), rtol=1e-14, atol=0)
    torch.testing.assert_close(call(0.3 * ones), 0.3 * call(None), rtol=1e-12, atol=0)
    singles = [call(6.0 * torch.nn.functional.one_hot(torch.tensor(i), 6).double()) for i in range(6)]
    torch.testing.assert_close(torch.stack(singles).mean(), call(None), rtol=1e-12, atol=0)


def test_an_empty_mask_is_no_mask_and_the_positive_cannot_be_ignored(pair):
    nothing, everything = torch.zeros(6, 6, dtype=torch.bool), torch.ones(6, 6, dtype=torch.bool)
    assert torch.equal(nt_xent(*pair, 0.2, ignore=nothing), nt_xent(*pair, 0.2))
    assert torch.equal(nt_xent(*pair, 0.2, ignore=torch.eye(6, dtype=torch.bool)), nt_xent(*pair, 0.2))
    assert float(nt_xent(*pair, 0.2, ignore=everything)) == pytest.approx(0.0, abs=1e-12)


def test_no_gradient_flows_between_images_that_ignore_each_other(pair):
    ignore = torch.zeros(6, 6, dtype=torch.bool)
    ignore[0, 1:] = ignore[1:, 0] = True
    (first, _) = gradients(nt_xent(*pair, 0.2, ignore=ignore), pair)
    assert float(first[0].abs().max()) < 1e-12
    assert float(first[1:].abs().max()) > 1e-3


def test_nt_xent_is_symmetric_in_views_images_and_scale(pair):
    z1, z2 = pair
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    for other in (nt_xent(z2, z1, 0.2), nt_xent(z1[order], z2[order], 0.2), nt_xent(3 * z1, 0.1 * z2, 0.2)):
        torch.testing.assert_close(other, nt_xent(z1, z2, 0.2), rtol=1e-12, atol=0)


def test_half_precision_inputs_are_computed_in_32_bit_under_autocast(pair):
    half = [z.detach().bfloat16() for z in pair]
    memory = torch.nn.functional.normalize(golden(7, 5, 3), dim=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        contrast, queue = nt_xent(*half, 0.05), info_nce(*half, memory, 0.05)
    assert contrast.dtype == queue.dtype == torch.float32
    exact = [z.double().numpy() for z in half]
    assert float(contrast) == pytest.approx(plain_nt_xent(*exact, 0.05), rel=1e-5)
    assert float(queue) == pytest.approx(plain_info_nce(*exact, memory.double().numpy(), 0.05), rel=1e-5)


def test_info_nce_is_the_plain_formula_and_lightlys_with_a_memory_bank(pair):
    memory = torch.nn.functional.normalize(
        torch.randn(9, 5, generator=torch.Generator().manual_seed(1)), dim=1
    ).double()
    theirs = NTXentLoss(0.2, memory_bank_size=(9, 5))
    theirs.memory_bank.bank = memory.clone()
    q, k = pair
    ours, other = info_nce(q, k, memory, 0.2), theirs(q, k.detach())
    expected = plain_info_nce(q.detach().numpy(), k.detach().numpy(), memory.numpy(), 0.2)
    assert float(ours) == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(ours, other, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradients(ours, q), gradients(other, q), rtol=1e-9, atol=1e-12)


def test_no_gradient_reaches_keys_or_memory(pair):
    q, k = pair
    memory = torch.nn.functional.normalize(golden(9, 5, 3), dim=1).requires_grad_()
    info_nce(q, k, memory, 0.2).backward()
    assert k.grad is None
    assert memory.grad is None
    assert float(q.grad.abs().max()) > 0
