"""Short runs of everything on a GPU, and what only a GPU can tell. Where there is none they are skipped.

``CLSP_GPU_TESTS=cpu`` lets the CPU stand for it: that tests the tests, but for those that need a real one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
import torch

from clsp.engine.hardware import HardwareConfig

STANDS_IN = os.environ.get("CLSP_GPU_TESTS") == "cpu"


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/gpu/" in str(item.path):
            item.add_marker(pytest.mark.gpu)
            if not (torch.cuda.is_available() or STANDS_IN):
                item.add_marker(pytest.mark.skip(reason="no GPU"))


@dataclass(frozen=True)
class Place:
    """Where the tests run, and the CPU that they are compared with."""

    hardware: HardwareConfig
    cpu: HardwareConfig

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.hardware.accelerator == "cpu" else "cuda")


@pytest.fixture
def place():
    wanted = "gpu" if torch.cuda.is_available() else "cpu"
    return Place(HardwareConfig(accelerator=wanted), HardwareConfig(accelerator="cpu"))


@pytest.fixture
def gpu(place):
    """A real one."""
    if place.device.type != "cuda":
        pytest.skip("needs a real GPU")
    return place


@pytest.fixture(autouse=True)
def exact():
    """32 bit is 32 bit: no TF32, so that numbers can be compared with the CPU's."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
