"""The settings that belong to one method each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MethodName = Literal["simclr", "moco", "mocov3", "byol", "simsiam", "nnclr", "all4one", "supcon"]
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


@dataclass(kw_only=True)
class BYOLConfig:
    """BYOL (arXiv 2006.07733)."""

    momentum: list[float] = field(default_factory=lambda: [0.99, 1.0])
    """Decay of the target network at the first and at the last step, along a cosine."""


@dataclass(kw_only=True)
class MoCoV3Config:
    """MoCo v3 (arXiv 2104.02057)."""

    temperature: float = 0.2
    """tau of InfoNCE."""
    momentum: list[float] = field(default_factory=lambda: [0.99, 1.0])
    """Decay of the momentum network at the first and at the last step, along a cosine."""


@dataclass(kw_only=True)
class NNCLRConfig:
    """NNCLR (arXiv 2104.14548)."""

    temperature: float = 0.2
    """tau of InfoNCE."""
    memory: int = 65536
    """Embeddings in the support set."""


@dataclass(kw_only=True)
class All4OneConfig:
    """All4One (arXiv 2303.09417)."""

    temperature: float = 0.2
    """tau of the nearest-neighbour term."""
    centroid_temperature: float = 0.1
    """tau of the centroid term (the released code ignores the setting and uses 0.1)."""
    memory: int = 98304
    """Embeddings in the support set."""
    neighbours: int = 5
    """Neighbours from which a centroid is made."""
    momentum: list[float] = field(default_factory=lambda: [0.99, 1.0])
    """Decay of the momentum network at the first and at the last step, along a cosine."""
    dropout: float = 0.1
    """Dropout of the transformer that makes the centroids."""
    transformer_lr: float = 0.1
    """Learning rate of that transformer as a share of the others'."""


@dataclass(kw_only=True)
class SupConConfig:
    """SupCon, the upper bound that sees the labels (arXiv 2004.11362, L_out)."""

    temperature: float = 0.1
    """tau of the loss."""
