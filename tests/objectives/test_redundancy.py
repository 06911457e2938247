"""Barlow Twins and VICReg against the plain formulas, lightly, and the golden numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightly.loss import BarlowTwinsLoss, VICRegLoss

from clsp.objectives.redundancy import barlow_twins, vicreg


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return [
        (0.7 * torch.randn(9, 5, generator=generator, dtype=torch.float64) + 0.3).requires_grad_() for _ in range(2)
    ]


def golden(start):
    return torch.from_numpy(np.sin(start + np.arange(12).reshape(4, 3)).astype(np.float64))


def weighted(z1, z2):
    invariance, variance, covariance = vicreg(z1, z2)
    return 25 * invariance + 25 * variance + covariance


def white(rows, columns):
    """Columns of mean 0 that do not vary together."""
    z = torch.randn(rows, columns, dtype=torch.float64)
    return torch.linalg.qr(z - z.mean(0))[0] * rows**0.5


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(lambda *z: barlow_twins(*z, 0.005), BarlowTwinsLoss(lambda_param=0.005)), (weighted, VICRegLoss())],
    ids=["barlow", "vicreg"],
)
def test_loss_and_gradient_are_lightlys(pair, ours, theirs):
    found, expected = ours(*pair), theirs(*pair)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    grads = [torch.autograd.grad(loss, pair) for loss in (found, expected)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-7, atol=1e-10)


def test_vicreg_gives_the_golden_number():
    assert float(weighted(golden(1), golden(2))) == pytest.approx(19.519347125589917, rel=1e-9)


def test_barlow_is_the_plain_formula(pair):
    z = [x.detach().numpy() for x in pair]
    a, b = ((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) for x in z)
    total = 0.0
    for i in range(5):
        for j in range(5):
            c = (a[:, i] * b[:, j]).mean()
            total += (c - 1) ** 2 if i == j else 0.3 * c**2
    assert float(barlow_twins(*pair, 0.3)) == pytest.approx(total, rel=1e-9)


def test_barlow_does_not_see_shift_and_scale_and_is_small_for_equal_white_features():
    z = white(64, 6)
    assert float(barlow_twins(z, 3 * z + 2, 0.005)) == pytest.approx(0.0, abs=1e-4)
    assert float(barlow_twins(z, -z, 0.005)) == pytest.approx(6 * 4, rel=1e-3)


def test_vicregs_terms_vanish_where_they_should():
    z = torch.randn(500, 4, dtype=torch.float64)
    assert [float(term) for term in vicreg(3 * z, 3 * z)[:2]] == [0, 0]
    assert float(vicreg(0 * z, 0 * z)[1]) == pytest.approx(0.99)
    plain, same = white(500, 4), z[:, :1].expand(-1, 4)
    assert float(vicreg(plain, plain)[2]) == pytest.approx(0, abs=1e-12)
    assert float(vicreg(same, plain)[2]) == pytest.approx(3 * float(z[:, 0].var()) ** 2, rel=1e-9)


def test_half_precision_is_computed_in_full(pair):
    half = [z.detach().bfloat16() for z in pair]
    for loss in (lambda *z: barlow_twins(*z, 0.1), weighted):
        torch.testing.assert_close(loss(*half), loss(*(z.float() for z in half)))
