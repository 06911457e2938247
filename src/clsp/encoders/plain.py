"""An encoder as one of timm's own models, which `timm.create_model` builds from arguments alone.

timm's ResNet begins with a convolution of 7x7, stride 2, and a pooling of stride 2; a stem for small images has none.
On an image whose every pixel is repeated, both are the same network: of the 7x7 weights those are kept that meet three
neighbouring pixels, the others are 0, and ``replace_stem_pool`` (a convolution in the pooling's place) picks every
second place. Nothing is approximated: in eval mode the features have the same bits or differ in their last ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from clsp.encoders.export import EncoderSpec
from clsp.encoders.stems import size_args, takes_size
from clsp.errors import UserError

_REPEATS = {"small": 4, "half": 2, "mid": 2}
"""How often each pixel is repeated, in rows and in columns, by stem."""

_TAPS = {2: (1, 3, 5), 4: (0, 2, 5)}
"""Which of the 7 weights in a row meet the left, the own and the right pixel, by the repeats."""

_PICKED = {"small": 2, "half": 1}
"""Row and column of the place that the convolution in place of the pooling picks of its 3x3."""


@dataclass(frozen=True)
class Plain:
    """What timm needs to rebuild an encoder."""

    name: str
    """timm's model name."""
    args: dict[str, Any]
    """Arguments of timm.create_model, besides the name and ``num_classes=0``."""
    state: dict[str, Tensor]
    """The weights by timm's names, on the CPU."""
    repeat: int = 1
    """How often each pixel of an image is repeated, in rows and in columns, before the model sees it; 1: it is not."""

    def build(self) -> nn.Module:
        """Make the model with its weights, in eval mode.

        Raises:
            RuntimeError: the weights are another model's.
        """
        model = _create(self.name, self.args)
        model.load_state_dict(self.state)
        return model.eval()

    def enlarged(self, images: Tensor) -> Tensor:
        """Repeat the pixels of images [B, C, H, W] as the model wants them."""
        return images.repeat_interleave(self.repeat, dim=2).repeat_interleave(self.repeat, dim=3)


def plain_model(encoder: nn.Module, spec: EncoderSpec) -> Plain:
    """Express an encoder by what timm itself can build.

    Raises:
        UserError: its stem is none that timm builds; says which setting, or which format, does it.
    """
    args = {**spec.args, **size_args(spec.name, spec.size), "in_chans": spec.channels}
    state = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    own = _create(spec.name, args)
    if _layers(own) == _layers(encoder):
        return Plain(spec.name, args, state)
    if not _has_plain_stem(own, spec.stem):
        raise UserError(_refusal(own, spec))
    repeat = _REPEATS[spec.stem]
    state["conv1.weight"] = _spread(state["conv1.weight"], _TAPS[repeat])
    if spec.stem in _PICKED:
        args["replace_stem_pool"] = True
        state |= _picking(_create(spec.name, args), _PICKED[spec.stem])
    return Plain(spec.name, args, state, repeat)


def _create(name: str, args: dict[str, Any]) -> nn.Module:
    model: nn.Module = timm.create_model(name, num_classes=0, **args)
    return model


def _layers(model: nn.Module) -> list[tuple[str, str]]:
    """The layers that compute, by name, with their kernels and strides."""
    return [(name, repr(part)) for name, part in model.named_modules() if not list(part.children())]


def _has_plain_stem(model: nn.Module, stem: str) -> bool:
    """Whether timm's ``model`` begins with the ResNet's plain 7x7 convolution, and a pooling that can be replaced."""
    if not isinstance(model, ResNet) or not isinstance(model.conv1, nn.Conv2d):
        return False
    if stem == "mid":
        return True
    plain_pool = isinstance(model.maxpool, nn.MaxPool2d)
    return plain_pool and isinstance(model.bn1, nn.BatchNorm2d) and isinstance(model.act1, nn.ReLU)


def _spread(weight: Tensor, taps: tuple[int, ...]) -> Tensor:
    """Put weights [O, I, 3, 3] on the ``taps`` of a kernel of 7x7; the others are 0."""
    spread = weight.new_zeros(*weight.shape[:2], 7, 7)
    rows = torch.tensor(taps)
    spread[:, :, rows[:, None], rows] = weight
    return spread


def _picking(model: nn.Module, place: int) -> dict[str, Tensor]:
    """Weights of the layers in the pooling's place that pass one pixel of each 3x3 on as it is.

    The ReLU that follows changes nothing of what a ReLU has passed already.
    """
    conv, norm = (model.get_submodule(f"maxpool.{number}") for number in (0, 1))
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and conv.stride == (2, 2)
    weight = torch.zeros_like(conv.weight)
    channels = torch.arange(len(weight))
    weight[channels, channels, place, place] = 1.0
    one = torch.ones(norm.num_features)
    return {
        "maxpool.0.weight": weight.detach(),
        "maxpool.1.weight": one * (1.0 + norm.eps) ** 0.5,
        "maxpool.1.bias": 0.0 * one,
        "maxpool.1.running_mean": 0.0 * one,
        "maxpool.1.running_var": one.clone(),
        "maxpool.1.num_batches_tracked": torch.tensor(0),
    }


def _refusal(model: nn.Module, spec: EncoderSpec) -> str:
    """Say in one line what makes such an encoder one that timm can build."""
    patches = " with --pretrain.backbone.args '{patch_size: 2}'" if spec.name.startswith("convnext") else ""
    return (
        f"timm cannot build {spec.name} with the stem {spec.stem} from arguments; train with "
        f"--pretrain.backbone.stem big{patches}, or choose --format torch or onnx, which hold any stem, or clsp, whose "
        "snippet.py changes the stem"
    )


def timm_config(plain: Plain, spec: EncoderSpec, features: int) -> dict[str, Any]:
    """What timm reads of ``config.json``: the model, its arguments, and how images are prepared for it.

    Args:
        plain: the model.
        spec: the encoder's, for the images.
        features: values of an image's features.
    """
    known, side = timm.get_pretrained_cfg(spec.name), spec.size * plain.repeat
    colours = {"first_conv": known.first_conv} if spec.channels == 3 and known.first_conv else {}
    return {
        "architecture": plain.name,
        "num_classes": 0,
        "num_features": features,
        "model_args": plain.args,
        "pretrained_cfg": {
            "input_size": [spec.channels, side, side],
            "fixed_input_size": takes_size(spec.name) and not spec.args.get("dynamic_img_size", False),
            "interpolation": "bicubic" if plain.repeat == 1 else "nearest",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": spec.mean,
            "std": spec.std,
            "num_classes": 0,
            "classifier": known.classifier,
            **colours,
        },
    }
