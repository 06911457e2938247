"""The encoder that users keep, and the head that is thrown away."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from clsp.errors import UserError
from clsp.settings import Count, settings

_WEIGHTS = ("pretrained", "pretrained_cfg_overlay")
"""timm's words for weights to start from."""

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

    @property
    def architecture(self) -> dict[str, Any]:
        """The arguments that say how it is made; without those that say where timm gets weights."""
        return {name: value for name, value in self.args.items() if name not in _WEIGHTS}

    @property
    def weights(self) -> str | None:
        """The weights that ``args`` ask for in timm's own words; None where they ask for none.

        Raises:
            UserError: they ask for something else than timm's own weights or a file.
        """
        overlay = self.args.get("pretrained_cfg_overlay")
        if not self.args.get("pretrained"):
            if overlay is not None:
                raise UserError(
                    "--pretrain.backbone.args: pretrained_cfg_overlay means nothing without pretrained: true"
                )
            return None
        if overlay is None:
            return "timm"
        if not isinstance(overlay, dict) or set(overlay) != {"file"} or not isinstance(overlay["file"], str):
            raise UserError(
                f"--pretrain.backbone.args: pretrained_cfg_overlay {overlay} must be {{file: FILE.safetensors}}, "
                "which --pretrain.weights FILE.safetensors says, too"
            )
        return overlay["file"]


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
