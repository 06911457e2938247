"""The pull of the additional positive."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsp.objectives.alignment import alignment


def golden(start):
    return torch.from_numpy(np.sin(start + np.arange(12.0).reshape(4, 3)))


def test_alignment_gives_the_golden_number():
    assert float(alignment(golden(1), golden(2))) == pytest.approx(0.908299482391916, rel=1e-12)  # golden.py: clsp


def test_alignment_runs_from_0_for_equal_to_4_for_opposite_directions():
    z = golden(1)
    assert float(alignment(z, 5 * z)) == pytest.approx(0, abs=1e-12)
    assert float(alignment(z, -2 * z)) == pytest.approx(4, abs=1e-12)
    other = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    units = [x / x.norm(dim=1, keepdim=True) for x in (z, other)]
    assert float(alignment(z, other)) == pytest.approx(float((units[0] - units[1]).square().sum(1).mean()), rel=1e-12)


def test_gradient_flows_to_both_sides_and_is_that_of_the_formula():
    z1, z3 = golden(1).requires_grad_(), golden(2).requires_grad_()
    ours = torch.autograd.grad(alignment(z1, z3), (z1, z3))
    cosine = ((z1 / z1.norm(dim=1, keepdim=True)) * (z3 / z3.norm(dim=1, keepdim=True))).sum(1)
    torch.testing.assert_close(ours, torch.autograd.grad((2 - 2 * cosine).mean(), (z1, z3)), rtol=1e-9, atol=1e-12)
    assert min(float(g.abs().max()) for g in ours) > 1e-3


def test_weight_one_is_unweighted_and_each_pair_has_its_own():
    z1, z3 = golden(1), golden(2)
    torch.testing.assert_close(alignment(z1, z3, weights=torch.ones(4).double()), alignment(z1, z3))
    only = torch.tensor([0, 0, 4.0, 0]).double()
    torch.testing.assert_close(alignment(z1, z3, weights=only), alignment(z1[2:3], z3[2:3]))


def test_half_precision_is_computed_in_32_bit():
    z1, z3 = golden(1).bfloat16(), golden(2).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = alignment(z1, z3)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(alignment(z1.double(), z3.double())), rel=1e-5)
