"""The methods by name. A new method is a file in this folder, a config, and a line in each table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from clsp.methods.base import Method
    from clsp.training.config import PretrainConfig

NAMES = ("simclr", "moco")
"""The methods that can be trained."""


def build_method(encoder: nn.Module, config: PretrainConfig, *, seed: int) -> Method:
    """Make the method that ``config.method`` names around ``encoder``."""
    from clsp.methods.moco import MoCo
    from clsp.methods.simclr import SimCLR

    common = {"batch_norm": config.batch_norm, "seed": seed}
    if config.method == "moco":
        return MoCo(encoder, config.projector, config.moco, **common)  # type: ignore[arg-type]
    return SimCLR(encoder, config.projector, config.simclr, **common)  # type: ignore[arg-type]
