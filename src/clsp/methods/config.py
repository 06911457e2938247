"""The methods' names, what some of them ask for, and the settings that belong to one method each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

MethodName = Literal[
    "simclr",
    "moco",
    "mocov3",
    "byol",
    "simsiam",
    "nnclr",
    "all4one",
    "barlow",
    "vicreg",
    "swav",
    "dino",
    "ressl",
    "aps",
    "supcon",
]
NAMES: tuple[MethodName, ...] = get_args(MethodName)
"""The methods that can be trained."""

LABELLED = ("supcon",)
"""Methods that see the labels: upper bounds, never rivals."""

WEAK_SECOND = ("ressl",)
"""Methods whose second view keeps its colours: it is cropped and flipped alone."""

PATCHES = ("aps",)
"""Methods that choose among a view's patches: they see where the views lie, and train timm's vision transformers."""

MULTI_CROP = ("swav", "dino")
"""Methods that take local crops (`clsp.images.config.AugmentConfig.local_crops`)."""

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
class BarlowConfig:
    """Barlow Twins (arXiv 2103.03230)."""

    redundancy_weight: float = 0.0051
    """The paper's lambda, the weight of the correlations that should vanish."""
    scale: float = 0.1
    """Factor of the loss: solo-learn's for small images; the paper's code has 1."""


@dataclass(kw_only=True)
class VICRegConfig:
    """VICReg (arXiv 2105.04906), with the paper's weights."""

    invariance: float = 25.0
    """Weight of the squared distance of the views."""
    variance: float = 25.0
    """Weight of the variance term, the mean over the two views (in solo-learn the sum: 25 there is 50 here)."""
    covariance: float = 1.0
    """Weight of the covariance term."""


@dataclass(kw_only=True)
class SwAVConfig:
    """SwAV (arXiv 2006.09882) with two views, as solo-learn has it."""

    prototypes: int = 3000
    """Clusters."""
    temperature: float = 0.1
    """tau of the prediction."""
    epsilon: float = 0.05
    """How soft the codes are."""
    iterations: int = 3
    """Sinkhorn iterations."""
    memory: int = 3840
    """Past embeddings of each view that help to make the codes."""
    memory_start: float = 0.05
    """Share of the training after which they do, once there are so many."""
    frozen: float = 0.002
    """Share of the training, at its beginning, in which the prototypes do not move."""


@dataclass(kw_only=True)
class DINOConfig:
    """DINO (arXiv 2104.14294) with two views; the embedding z is the bottleneck before the prototypes."""

    prototypes: int = 4096
    """Outputs of the last layer."""
    temperature: float = 0.1
    """tau of the student."""
    teacher_temperature: list[float] = field(default_factory=lambda: [0.04, 0.07])
    """tau of the teacher at the first step and after its warm-up, along a line."""
    teacher_warmup: float = 0.0
    """Share of the training that this warm-up takes; with 0 the second value holds from the start."""
    center_momentum: float = 0.9
    """Decay of the centre that is taken from the teacher's outputs."""
    momentum: list[float] = field(default_factory=lambda: [0.9995, 1.0])
    """Decay of the teacher at the first and at the last step, along a cosine."""
    frozen: float = 0.001
    """Share of the training, at its beginning, in which the prototypes do not move."""


@dataclass(kw_only=True)
class ReSSLConfig:
    """ReSSL (arXiv 2107.09282), as solo-learn has it."""

    temperature: float = 0.1
    """tau of the trained network's relations."""
    key_temperature: float = 0.04
    """tau of the momentum network's; the smaller one."""
    memory: int = 65536
    """Keys in the memory; at most as many as there are images, or an image meets its own old key."""
    momentum: list[float] = field(default_factory=lambda: [0.99, 1.0])
    """Decay of the momentum network at the first and at the last step, along a cosine."""


@dataclass(kw_only=True)
class APSConfig:
    """APS, asymmetric patch sampling (arXiv 2306.02854), for vision transformers."""

    temperature: float = 0.1
    """tau of InfoNCE."""
    ratio: float = 0.25
    """Share of a view's patches that the encoder sees in training."""
    power: float = 3.0
    """gamma: how much the other views avoid what the first view's patches show; 0: not at all."""


@dataclass(kw_only=True)
class SupConConfig:
    """SupCon, the upper bound that sees the labels (arXiv 2004.11362, L_out)."""

    temperature: float = 0.1
    """tau of the loss."""
