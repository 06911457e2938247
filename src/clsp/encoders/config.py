"""The encoder that users keep, and the head that is thrown away."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from clsp.settings import Count, settings

BatchNormMode = Literal["joint", "split", "views"]


@settings
class BackboneConfig:
    """A timm backbone."""

    name: str = "resnet18"
    """Any model name of timm."""
    args: dict[str, Any] = field(default_factory=dict)
    """Arguments for timm.create_model, for example {layers: [1, 1, 1, 1], channels: [16, 32, 64, 128]}."""
    stem: Literal["auto", "small", "mid", "half", "big"] = "auto"
    """small: 3x3 stride 1, no pooling; mid: 3x3 stride 1 with pooling; half: 3x3 stride 2, no pooling, which ends at
    the size of mid for a fraction of its time; big: timm's own. auto: by image size, small up to 48 pixels, mid up to
    96."""
    channels_last: bool = True
    """Memory format of convolutions; with bf16 about twice as fast as channels first, on CPUs as on GPUs."""


@settings
class ProjectorConfig:
    """The projection head g: an MLP."""

    hidden: Count = 4096
    """Width of the hidden layers."""
    dim: Count = 256
    """Width of the embedding z."""
    layers: Count | None = None
    """Linear layers; null: as the method has it (SimCLR and MoCo: 2)."""
    batch_norm: bool | None = None
    """BatchNorm after every hidden layer; null: as the method has it (SimCLR and MoCo: none)."""
    last_norm: Literal["none", "affine", "plain"] | None = None
    """BatchNorm after the last layer, with or without scale and shift; null: as the method has it."""


@settings
class PredictorConfig:
    """The predictor h of the methods that have one: Linear - BatchNorm - ReLU - Linear (APS: as its projector)."""

    hidden: Count = 4096
    """Width of the hidden layer."""
