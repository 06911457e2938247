"""Shared by all tests: one thread, no injected fault, and small data."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # before torch: tests of several threads have no cores of their own

import torch

from clsp import faults
from tiny import diffusion_config, images_of, pretrain_config

torch.set_num_threads(1)
# Autograd counts devices once, at its first gradient. Where a fake GPU has been made before, it begins threads for it,
# and no fork of this process can compute a gradient any more; several tests fork.
torch.ones(1, requires_grad=True).sum().backward()
os.environ["CLSP_CACHE"] = tempfile.mkdtemp(prefix="clsp-cache-")  # nobody's own, and of all processes of the tests
atexit.register(shutil.rmtree, os.environ["CLSP_CACHE"], ignore_errors=True)


@pytest.fixture(autouse=True)
def no_fault(monkeypatch):
    """Every test counts fault points from zero, and meets none that it did not ask for."""
    monkeypatch.delenv("CLSP_FAULT", raising=False)
    faults._passed.clear()


@pytest.fixture
def make_images():
    return images_of


@pytest.fixture
def tiny_pretrain():
    return pretrain_config


@pytest.fixture
def tiny_diffusion():
    return diffusion_config
