"""The simple objective of the common stability mechanism against its formula and the golden centre."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clsp.objectives.simple import simple


def waves(start):
    return torch.from_numpy(np.sin(start + np.arange(12).reshape(4, 3)))


def test_the_golden_centre():
    rise = float(simple(waves(1), waves(2), 1.0) - simple(waves(1), waves(2), 0.0))
    assert 2 * rise == pytest.approx(0.06136183574234878**2, rel=1e-9)


def test_it_is_half_of_the_centre_less_the_cosine():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    center = sum(row / row.norm() for row in (*a, *b)) / 12
    cosines = [float(F.cosine_similarity(x, y, dim=0)) for x, y in zip(a, b, strict=True)]
    expected = 0.5 * (3.0 * float(center.square().sum()) - np.mean(cosines))
    assert float(simple(a, b, 3.0)) == pytest.approx(expected)


def test_without_the_centre_one_embedding_for_all_is_best_and_with_it_two_are():
    one = torch.ones(4, 3)
    two = one * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
    assert float(simple(one, one, 0.0)) == pytest.approx(-0.5)
    assert float(simple(one, one, 1.0)) == pytest.approx(0.0)
    assert float(simple(two, two, 1.0)) == pytest.approx(-0.5)
