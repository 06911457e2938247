"""A vision transformer on some of an image's patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clsp.errors import UserError

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer


def require_vit(model: nn.Module) -> VisionTransformer:
    """Return ``model`` if it is one of timm's vision transformers, whose patches can be chosen.

    Raises:
        UserError: names the option and what is allowed.
    """
    from timm.models.vision_transformer import VisionTransformer

    if isinstance(model, VisionTransformer):
        return model
    name = getattr(model, "pretrained_cfg", {}).get("architecture", type(model).__name__)
    raise UserError(
        f"--pretrain.backbone.name {name} has no patches to choose from; this method needs one of timm's vision "
        "transformers, such as vit_tiny_patch16_224 with --pretrain.backbone.args '{patch_size: 4}'"
    )


def is_vit(model: nn.Module) -> bool:
    """Whether ``model`` is one of timm's vision transformers."""
    from timm.models.vision_transformer import VisionTransformer

    return isinstance(model, VisionTransformer)


def encode_patches(model: VisionTransformer, images: Tensor, patches: Tensor) -> Tensor:
    """Encode images by some of their patches alone.

    Each patch keeps the position embedding of its place, and the tokens that stand for no patch (class token,
    registers) are always there. With all patches in order this is ``model(images)``.

    Args:
        model: a vision transformer without classifier.
        images: float [B, C, H, W].
        patches: which patches to keep, row by row from 0, int64 [B, n].

    Returns:
        Features, float [B, num_features], as ``model`` pools them.
    """
    tokens = model._pos_embed(model.patch_embed(images))
    prefix, cells = tokens[:, : model.num_prefix_tokens], tokens[:, model.num_prefix_tokens :]
    kept = cells.gather(1, patches[..., None].expand(-1, -1, cells.shape[2]))
    tokens = model.patch_drop(torch.cat((prefix, kept), dim=1))
    tokens = model.norm(model.blocks(model.norm_pre(tokens)))
    features: Tensor = model.forward_head(tokens, pre_logits=True)
    return features


def every_patch(model: VisionTransformer) -> Callable[[Tensor], Tensor]:
    """Return what encodes images by `encode_patches` with all of their patches."""

    def encode(images: Tensor) -> Tensor:
        rows, columns = model.patch_embed.grid_size
        return encode_patches(model, images, torch.arange(rows * columns).expand(len(images), -1))

    return encode
