"""Values that follow from the number and the size of the images: the ``folder`` and ``smoke`` recipes fit any data."""

from __future__ import annotations

from typing import Any

from clsp.methods.swav import SwAVSettings
from clsp.settings.values import nested


def size_to_data(recipe: str, count: int, size: int, *, accelerated: bool) -> dict[str, Any]:
    """Return nested settings for ``count`` train images of ``size`` pixels; empty for recipes with fixed sizes.

    Args:
        recipe: the recipe's name.
        count: train images.
        size: their side in pixels.
        accelerated: whether there is a GPU.
    """
    if recipe == "smoke":
        batch = _power_of_two(min(32, count))
        return nested({"pretrain.batch_size": batch, "diffusion.batch_size": batch})
    if recipe != "folder":
        return {}
    return nested(_large(count, size) if accelerated else _small(count, size))


def _power_of_two(value: int) -> int:
    """The largest power of two that is not above ``value``, at least 2."""
    return max(2, 1 << (value.bit_length() - 1))


def _passes(count: int, seen: int, least: int, most: int) -> int:
    """Epochs in which about ``seen`` images are seen."""
    return int(min(max(seen // count, least), most))


def _memories(count: int, most: int) -> dict[str, Any]:
    """Memories of half the images: in larger ones a neighbour is soon an older copy of the image itself."""
    rows = min(most, _power_of_two(count // 2))
    memories = {f"pretrain.{method}.memory": rows for method in ("moco", "nnclr", "all4one", "ressl")}
    return {**memories, "pretrain.swav.memory": min(rows, SwAVSettings().memory)}


def _small(count: int, size: int) -> dict[str, Any]:
    """Sizes that two CPU cores carry in about an hour for 10,000 images of 32 pixels, the encoder fashion-mnist's."""
    batch = _power_of_two(min(256, max(count // 4, 2)))
    levels = 3 if size <= 32 else 4
    views = {} if size < 24 else {"pretrain.augment.size": 4 * round(0.7 * size / 4)}
    stem = {} if size <= 32 else {"pretrain.backbone.stem": "half"}
    return {
        "diffusion.images": 10_000,
        "diffusion.widths": [32, 64] if size < 16 else [16, 32, 64, 128][:levels],
        "diffusion.blocks": 1,
        "diffusion.attention": [],
        "diffusion.norm_groups": 8,
        "diffusion.dropout": 0.0,
        "diffusion.steps": 1200,
        "diffusion.batch_size": min(batch * 2, 128),
        "diffusion.lr": 1.2e-3,
        "diffusion.warmup_steps": 100,
        "diffusion.schedule": "cosine",
        "diffusion.ema_decay": 0.995,
        "diffusion.sample_every": 300,
        "synthesize.anchors": 10_000,
        "synthesize.candidates": 2,
        "synthesize.sampler": "sde-dpmsolver++",
        "synthesize.strength": 1.0,
        "synthesize.steps": 10,
        "synthesize.clip_sample": True,
        "pretrain.images": 10_000,
        "pretrain.positive.objective": "nt_xent",
        "pretrain.backbone.args": {
            "layers": [1, 1, 1, 1],
            "channels": [16, 32, 64, 128],
            "stem_type": "deep",
            "stem_width": 8,
        },
        **views,
        **stem,
        "pretrain.projector.hidden": 512,
        "pretrain.projector.dim": 128,
        "pretrain.projector.batch_norm": True,
        **_memories(min(count, 10_000), 4096),
        "pretrain.dino.momentum": [0.99, 1.0],
        "pretrain.augment.crop_scale": [0.2, 1.0],
        "pretrain.epochs": _passes(min(count, 10_000), 400_000, 40, 400),
        "pretrain.batch_size": batch,
        "pretrain.lr": round(0.48 * batch / 256, 4),
        "pretrain.warmup_epochs": 5,
        "evaluate.train_images": 10_000,
    }


def _large(count: int, size: int) -> dict[str, Any]:
    """The paper's settings, with a length that follows the number of images."""
    batch = _power_of_two(min(1024, max(count // 4, 2)))
    levels = 4 if size <= 64 else 5
    return {
        "diffusion.widths": [128, 256, 256, 256, 512][:levels],
        "diffusion.attention": [1 if size <= 32 else 2],
        "diffusion.steps": int(min(max(count * 4, 20_000), 194_000)),
        "diffusion.batch_size": min(batch, 256),
        "pretrain.augment.crop_scale": [0.08, 1.0] if count > 20_000 else [0.2, 1.0],
        "pretrain.epochs": _passes(count, 50_000_000, 200, 1000),
        "pretrain.batch_size": batch,
        "pretrain.lr": round(0.5 * batch / 1024, 4),
        **_memories(count, 65536),
    }
