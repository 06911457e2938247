"""Where numbers come from: versions and hardware."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clsp._version import __version__

_PACKAGES = ("torch", "torchvision", "lightning", "diffusers", "timm", "scikit-learn", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Versions of clsp, Python and the packages that decide the numbers."""
    found = {"clsp": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """What the run is made on."""
    import torch

    facts: dict[str, Any] = {
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu": _cpu_name(),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
