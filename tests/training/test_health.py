"""Collapsed embeddings are told from healthy ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsp.settings.values import options_of
from clsp.training.config import PretrainConfig
from clsp.training.health import diagnose, health


@pytest.fixture
def gaussian():
    return torch.randn(256, 32, generator=torch.Generator().manual_seed(0))


def test_gaussian_embeddings_are_healthy(gaussian):
    state = health(gaussian, gaussian + 0.1)
    assert state.feature_std == pytest.approx(1, abs=0.02)
    assert state.effective_rank == pytest.approx(32, rel=0.05)
    assert state.center_norm < 0.15
    assert diagnose(state) is None


def test_equal_embeddings_are_a_collapse(gaussian):
    point = torch.ones(256, 32) + 1e-4 * gaussian
    state = health(point, point)
    assert state.alignment == pytest.approx(0, abs=1e-5)
    assert state.center_norm == pytest.approx(1, abs=1e-4)
    assert "nearly the same embedding" in diagnose(state)
    assert "nearly the same embedding" in diagnose(health(torch.ones(256, 32), torch.ones(256, 32)))


def test_embeddings_in_two_directions_are_a_dimensional_collapse(gaussian):
    plane = gaussian[:, :2] @ torch.linalg.qr(gaussian[:32].T)[0][:, :2].T
    state = health(plane, plane)
    assert state.effective_rank == pytest.approx(2, abs=0.1)
    advice = diagnose(state)
    assert "dimensional collapse" in advice
    options = {f"--pretrain.{name}" for name, *_ in options_of(PretrainConfig)}
    assert {word.rstrip(",") for word in advice.split() if word.startswith("--")} <= options


def test_effective_rank_and_alignment_are_the_formulas(gaussian):
    other = gaussian.flip(0)
    state = health(gaussian, other)
    z1, z2 = (z.double().numpy() / np.linalg.norm(z.double().numpy(), axis=1, keepdims=True) for z in (gaussian, other))
    values = np.linalg.svd(z1 - z1.mean(0), compute_uv=False)
    p = values / values.sum()
    assert state.effective_rank == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)
    assert state.alignment == pytest.approx(((z1 - z2) ** 2).sum(1).mean(), rel=1e-5)
    assert state.feature_std == pytest.approx(z1.std(0, ddof=1).mean() * 32**0.5, rel=1e-5)
