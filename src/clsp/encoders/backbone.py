"""Backbones: timm models by name, with a stem that suits the image size."""

from __future__ import annotations

import re
from typing import Any

import timm
import torch
from torch import nn

from clsp.encoders.config import BackboneConfig
from clsp.encoders.heads import feature_count as feature_count
from clsp.errors import UserError, suggest
from clsp.images.config import AugmentConfig

SMALL, MID = 48, 96
"""Largest image side, in pixels, for the small and for the mid stem."""


ARGUMENTS = frozenset(
    [
        "aa_layer",
        "act_layer",
        "attn_drop_rate",
        "attn_layer",
        "avg_down",
        "base_width",
        "block_reduce_first",
        "cardinality",
        "channels",
        "class_token",
        "conv_mult",
        "depth",
        "depths",
        "dims",
        "down_kernel_size",
        "drop_block_rate",
        "drop_path_rate",
        "drop_rate",
        "dynamic_img_pad",
        "dynamic_img_size",
        "embed_dim",
        "fc_norm",
        "final_norm",
        "fix_init",
        "global_pool",
        "growth_rate",
        "head_dropout",
        "init_values",
        "layers",
        "mlp_ratio",
        "mlp_ratios",
        "no_embed_class",
        "norm_layer",
        "num_heads",
        "num_reg_tokens",
        "output_stride",
        "patch_drop_rate",
        "patch_size",
        "pool_include_prefix",
        "pos_drop_rate",
        "pos_embed",
        "pre_norm",
        "proj_bias",
        "proj_drop_rate",
        "qk_norm",
        "qkv_bias",
        "reg_tokens",
        "replace_stem_pool",
        "scale_attn_norm",
        "scale_mlp_norm",
        "stem_channels",
        "stem_pool_type",
        "stem_type",
        "stem_width",
        "weight_init",
        "width_mult",
        "widths",
        "window_size",
        "zero_init_last",
    ]
)
"""Arguments of timm's models that a recipe may set: sizes and kinds of layers. Nothing that reads a file or a hub."""


def stem_for(config: BackboneConfig, size: int) -> str:
    """Return the stem for images of ``size`` pixels, see `BackboneConfig`. A data set's name plays no part."""
    if config.stem != "auto":
        return config.stem
    return "small" if size <= SMALL else "mid" if size <= MID else "big"


def build_backbone(name: str, args: dict[str, Any], *, channels: int, size: int, stem: str) -> nn.Module:
    """Make a timm backbone without classifier: images [B, channels, size, size] to features [B, num_features].

    Raises:
        UserError: timm knows no such model or argument, or the model's stem cannot be made small.
    """
    if name not in timm.list_models(name):
        raise UserError(f"backbone '{name}' is no model of timm{suggest(name, timm.list_models())}")
    for argument in args:
        if argument not in ARGUMENTS:
            raise UserError(
                f"--pretrain.backbone.args: '{argument}' is not one of {', '.join(sorted(ARGUMENTS))}"
                f"{suggest(argument, ARGUMENTS)}"
            )
    try:
        model: nn.Module = timm.create_model(name, num_classes=0, in_chans=channels, **args, **size_args(name, size))
    except (TypeError, RuntimeError, AssertionError) as error:
        raise UserError(f"backbone {name} cannot be built with {args}: {error}") from error
    if stem != "big":
        _shrink_stem(model, name, stem)
    return model


def size_args(name: str, size: int) -> dict[str, Any]:
    """Transformers have position embeddings for one image size; convolutional networks take any."""
    fixed = ("vit", "deit", "beit", "eva", "mixer", "swin", "cait", "xcit", "volo")
    return {"img_size": size} if name.startswith(fixed) else {}


def require_views(config: BackboneConfig, size: int, augment: AugmentConfig) -> None:
    """Refuse views of another size than the images' for a backbone that takes one size alone.

    Args:
        config: the backbone.
        size: height and width of the images.
        augment: how the views are drawn.

    Raises:
        UserError: names the option and what is allowed.
    """
    sides = {"size": augment.size or size}
    if augment.local_crops:
        sides["local_size"] = augment.local_side(size)
    named = re.search(r"patch(\d+)", config.name)
    patch: int = config.args.get("patch_size", int(named.group(1)) if named else 1)
    for option, side in sides.items():
        if side == size or not size_args(config.name, size):
            continue
        if not config.args.get("dynamic_img_size"):
            raise UserError(
                f"--pretrain.augment.{option} {side}: {config.name} takes images of {size} pixels alone; choose "
                f"{size}, a convolutional backbone such as resnet18, or, where timm's model knows it, "
                "--pretrain.backbone.args '{dynamic_img_size: true}'"
            )
        if side % patch and not config.args.get("dynamic_img_pad"):
            raise UserError(
                f"--pretrain.augment.{option} {side} is no multiple of the {patch} pixels of a patch of {config.name}; "
                f"choose {max(side // patch, 1) * patch} or {(side // patch + 1) * patch}"
            )


def _shrink_stem(model: nn.Module, name: str, stem: str) -> None:
    """Keep the resolution in the first layers: on 32 pixels timm's ImageNet stem throws away most of the image."""
    conv = getattr(model, "conv1", None)
    stride = _stride(stem)
    if conv is not None and hasattr(model, "maxpool"):  # the ResNet family
        if isinstance(conv, nn.Sequential):  # a deep stem (stem_type: deep): three 3x3 convolutions, the first strided
            first = conv[0]
            assert isinstance(first, nn.Conv2d)
            first.stride = (stride, stride)
        else:
            model.conv1 = nn.Conv2d(conv.in_channels, conv.out_channels, 3, stride, 1, bias=False)
            nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        if stem != "mid":
            model.maxpool = nn.Identity()
        return
    conv = getattr(model, "conv_stem", None)
    if isinstance(conv, nn.Conv2d):  # EfficientNet, MobileNet: the weights keep their shape
        conv.stride = (stride, stride)
        return
    if hasattr(model, "patch_embed"):  # transformers choose their patch by name or args: patch_size
        return
    raise UserError(f"backbone {name} has no stem that can be made {stem}; use --pretrain.backbone.stem big")


def to_channels_last(model: nn.Module) -> nn.Module:
    """Lay a model's weights out channels last, unless a convolution could not be trained so; return it.

    oneDNN's gradient of a strided 1x1 convolution with fewer than 8 channels, channels last, writes past its buffer on
    processors with AVX2 (its issue 6035); it is the shortcut of a very thin ResNet.
    """
    for conv in model.modules():
        if (
            isinstance(conv, nn.Conv2d)
            and conv.kernel_size == (1, 1)
            and conv.stride != (1, 1)
            and conv.in_channels < 8
        ):
            return model
    return model.to(memory_format=torch.channels_last)


def stem_snippet(stem: str, name: str, args: dict[str, Any]) -> str:
    """Return the lines of plain torch that give ``model`` the stem; empty for timm's own."""
    model = timm.create_model(name, num_classes=0, **args)
    if stem == "big" or hasattr(model, "patch_embed"):
        return ""
    stride = _stride(stem)
    if hasattr(model, "conv_stem"):
        return f"model.conv_stem.stride = ({stride}, {stride})\n"
    channels = "model.conv1.in_channels, model.conv1.out_channels"
    lines = f"model.conv1 = torch.nn.Conv2d({channels}, 3, {stride}, 1, bias=False)\n"
    if isinstance(model.conv1, nn.Sequential):
        lines = f"model.conv1[0].stride = ({stride}, {stride})\n"
    return lines + ("model.maxpool = torch.nn.Identity()\n" if stem != "mid" else "")


def _stride(stem: str) -> int:
    """Return the stride of the first convolution."""
    return 2 if stem == "half" else 1
