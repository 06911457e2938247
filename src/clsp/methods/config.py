"""The settings that belong to one method each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

BatchNormMode = Literal["joint", "split", "views"]


@dataclass(kw_only=True)
class SimCLRConfig:
    """SimCLR (arXiv 2002.05709)."""

    temperature: float = 0.2
    """tau of NT-Xent."""


@dataclass(kw_only=True)
class MoCoConfig:
    """MoCo v2+ (arXiv 2003.04297, symmetric, as solo-learn has it)."""

    temperature: float = 0.2
    """tau of InfoNCE."""
    memory: int = 32768
    """Keys in each of the two memories."""
    momentum: list[float] = field(default_factory=lambda: [0.99, 0.999])
    """Decay of the momentum network at the first and at the last step, along a cosine."""
