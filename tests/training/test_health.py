"""Collapsed embeddings are told from healthy ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

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
    assert diagnose(state, 32) is None


def test_equal_embeddings_are_a_collapse(gaussian):
    point = torch.ones(256, 32) + 1e-4 * gaussian
    state = health(point, point)
    assert state.alignment == pytest.approx(0, abs=1e-5)
    assert state.center_norm == pytest.approx(1, abs=1e-4)
    assert "nearly the same embedding" in diagnose(state, 32)
    assert "nearly the same embedding" in diagnose(health(torch.ones(256, 32), torch.ones(256, 32)), 32)


def test_embeddings_in_two_directions_are_a_dimensional_collapse(gaussian):
    plane = gaussian[:, :2] @ torch.linalg.qr(gaussian[:32].T)[0][:, :2].T
    state = health(plane, plane)
    assert state.effective_rank == pytest.approx(2, abs=0.1)
    advice = diagnose(state, 32)
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


def test_the_common_stability_mechanism_is_its_formulas(gaussian):
    """E cos = |c|^2 over pairs of one image, |s|^2 over pairs of two, and |c|^2 = |s|^2 + |r|^2, image by image."""
    first, second = gaussian + 1.0, gaussian + 1.0 + 0.5 * gaussian.flip(0)
    state = health(first, second)
    z1, z2 = (F.normalize(z.double(), dim=1) for z in (first, second))
    views = torch.stack((z1, z2))
    of_two = torch.einsum("and,bmd->abnm", views, views)[:, :, ~torch.eye(256, dtype=torch.bool)]
    assert state.sample_norm**2 == pytest.approx(float((z1 * z2).sum(1).mean()), rel=1e-5)
    assert state.center_norm**2 == pytest.approx(float(of_two.mean()), rel=1e-5)
    assert state.sample_norm**2 == pytest.approx(state.center_norm**2 + state.residual_norm**2, rel=1e-6)
    assert state.residual_ratio == pytest.approx(state.residual_norm**2 / state.sample_norm**2)
    distances = 2 - 2 * (z1 @ z1.T)[~torch.eye(256, dtype=torch.bool)]
    assert state.uniformity == pytest.approx(float((-2 * distances).exp().mean().log()), rel=1e-4)


def test_a_small_batch_does_not_make_the_centre_long(gaussian):
    """The mean of 8 random unit vectors is 0.35 long; what is logged is an estimate of the centre of all images."""
    parts = [gaussian[rows] for rows in torch.arange(256).split(8)]
    squares = [health(part, part + 0.1 * part.flip(0)).center_norm ** 2 for part in parts]
    assert np.mean(squares) < 0.03 < np.mean([float(F.normalize(part, dim=1).mean(0).square().sum()) for part in parts])


def test_no_centre_is_no_proof_of_health(gaussian):
    """Half of the images at +v and half at -v: the centre vanishes, and the rank tells."""
    halves = torch.where(torch.arange(256)[:, None] % 2 == 0, 1.0, -1.0) * torch.ones(32) + 1e-4 * gaussian
    state = health(halves, halves)
    assert state.center_norm < 0.05 and state.residual_ratio > 0.99
    assert state.effective_rank < 1.1 and "dimensional collapse" in diagnose(state, 32)


@pytest.mark.parametrize(("rows", "width"), [(2, 128), (3, 128), (4, 128), (8, 128), (256, 2), (256, 3), (256, 4)])
def test_few_images_or_a_narrow_embedding_use_few_directions_and_are_healthy(rows, width):
    """A process may hold four images of a batch; their centred embeddings lie in three directions."""
    for seed in range(20):
        z = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
        state = health(z, z)
        assert diagnose(state, min(rows - 1, width)) is None, state
