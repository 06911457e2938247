"""Backbones: timm models by name, with a stem that suits the image size."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from clsp.encoders.config import BackboneConfig
from clsp.encoders.heads import feature_count as feature_count
from clsp.encoders.stems import is_transformer, shrink_stem, size_args
from clsp.encoders.trial import measure_width, refusal
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

_COUNTS = frozenset(["layers", "depth", "depths", "num_heads", "reg_tokens", "num_reg_tokens"])
"""Those that say how many layers or tokens there are."""


def stem_for(config: BackboneConfig, size: int) -> str:
    """Return the stem for images of ``size`` pixels, see `BackboneConfig`. A data set's name plays no part."""
    if config.stem != "auto":
        return config.stem
    return "small" if size <= SMALL else "mid" if size <= MID else "big"


def build_backbone(
    name: str, args: dict[str, Any], *, channels: int, size: int, stem: str, width: int | None = None
) -> nn.Module:
    """Make a timm backbone without classifier: images [B, channels, size, size] to features [B, num_features].

    Args:
        name: timm's.
        args: further arguments of timm's, of `ARGUMENTS`.
        channels: of the images.
        size: height and width of the images.
        stem: small, mid, half or big, see `BackboneConfig`.
        width: values of an image's features, where that is known; None: found by encoding a blank image.

    Raises:
        UserError: timm knows no such model or argument, or the model cannot take images of this size.
    """
    import timm  # is slow to import, and help needs none of it

    if name not in timm.list_models(name):
        raise UserError(f"backbone '{name}' is no model of timm{suggest(name, timm.list_models())}")
    for argument in args:
        if argument not in ARGUMENTS:
            raise UserError(
                f"--pretrain.backbone.args: '{argument}' is not one of {', '.join(sorted(ARGUMENTS))}"
                f"{suggest(argument, ARGUMENTS)}"
            )
        _require_bearable(argument, args[argument])
    try:
        model: nn.Module = timm.create_model(name, num_classes=0, in_chans=channels, **size_args(name, size) | args)
        if stem != "big":
            shrink_stem(model, name, stem)
        # Not always the num_features of timm: MobileNetV3, for one, has a further layer.
        found = measure_width(model, channels, size) if width is None else width
    except Exception as error:  # every model checks in its own way what it can take, or fails in the middle
        if "unexpected keyword argument" in str(error):
            raise UserError(f"backbone {name} cannot be built with {args}: {error}") from error
        raise UserError(refusal(name, args, channels=channels, size=size, stem=stem, error=error)) from error
    if feature_count(model) != found:
        model.num_features = found  # type: ignore[assignment]
    return model


def _require_bearable(argument: str, value: Any) -> None:
    """Refuse sizes that no machine bears: they would hang before anything could be said."""
    most = 512 if argument in _COUNTS else 65_536
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, int | float) and abs(number) > most:
            raise UserError(f"--pretrain.backbone.args: {argument} {value} is too large; at most {most}")


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
        if side == size or not is_transformer(config.name):
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


def to_channels_last(model: nn.Module) -> nn.Module:
    """Lay a model's weights out channels last, unless a convolution could not be trained so; return it.

    oneDNN's gradient of a strided 1x1 convolution with fewer channels than a vector register holds numbers (8 with
    AVX2, 16 with AVX-512), channels last, writes past its buffer (its issue 6035). With AVX-512 the process dies, with
    images of 56 pixels and more. It is the shortcut of a very thin ResNet.
    """
    narrow = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8
    for conv in model.modules():
        if (
            isinstance(conv, nn.Conv2d)
            and conv.kernel_size == (1, 1)
            and conv.stride != (1, 1)
            and conv.in_channels < narrow
        ):
            return model
    return model.to(memory_format=torch.channels_last)
