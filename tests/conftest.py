"""Shared by all tests: one thread, no injected fault, and small data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsp import faults
from clsp.diffusion.config import DiffusionConfig
from clsp.encoders.config import BackboneConfig, ProjectorConfig
from clsp.images.imageset import Images, Split
from clsp.methods.moco import MoCoSettings
from clsp.training.config import PretrainConfig

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_fault(monkeypatch):
    """Every test counts fault points from zero, and meets none that it did not ask for."""
    monkeypatch.delenv("CLSP_FAULT", raising=False)
    faults._passed.clear()


def _split(count: int, name: str, channels: int, size: int, rng: np.random.Generator) -> Split:
    labels = np.arange(count) % 3
    prototypes = np.random.default_rng(7).integers(40, 216, (3, channels, size, size))
    images = (prototypes[labels] + rng.integers(-40, 40, (count, channels, size, size))).astype(np.uint8)
    return Split(images=images, names=[f"{name}/{i:03d}" for i in range(count)], labels=labels)


def images_of(train: int = 48, test: int | None = 24, *, channels: int = 3, size: int = 16, seed: int = 0) -> Images:
    """Images of three classes, each a prototype and noise."""
    rng = np.random.default_rng(seed)
    parts = _split(train, "train", channels, size, rng), _split(test or 0, "test", channels, size, rng)
    return Images(source="made", train=parts[0], test=parts[1] if test else None, classes=("a", "b", "c"))


def pretrain_config(**changes) -> PretrainConfig:
    """Settings of a training of nine steps."""
    settings = {
        "backbone": BackboneConfig(args={"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 16]}),
        "projector": ProjectorConfig(hidden=16, dim=8),
        "moco": MoCoSettings(memory=40),
        "epochs": 3,
        "batch_size": 16,
        "lr": 0.1,
        "warmup_epochs": 0.5,
        "log_every": 1,
        "knn_every": 0,
        "precision": "32",
    }
    return PretrainConfig(**{**settings, **changes})


def diffusion_config(**changes) -> DiffusionConfig:
    """Settings of the smallest diffusion model that has all parts."""
    settings = {
        "widths": [8, 16],
        "blocks": 1,
        "attention": [1],
        "norm_groups": 4,
        "timesteps": 100,
        "steps": 6,
        "batch_size": 8,
        "lr": 1e-3,
        "warmup_steps": 2,
        "ema_decay": 0.9,
        "sample_every": 0,
        "precision": "32",
    }
    return DiffusionConfig(**{**settings, **changes})


@pytest.fixture
def make_images():
    return images_of


@pytest.fixture
def tiny_pretrain():
    return pretrain_config


@pytest.fixture
def tiny_diffusion():
    return diffusion_config
