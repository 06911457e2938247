"""Values that follow from the number and the size of the images: the ``folder`` and ``smoke`` recipes fit any data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le

from clsp.errors import UserError
from clsp.methods.all4one import All4OneSettings
from clsp.methods.swav import SwAVSettings
from clsp.settings.values import nested

MOST = 1_000_000_000
"""More of anything is a mistake."""


@dataclass(frozen=True)
class Extent:
    """How much a run of the recipe ``folder`` does."""

    images: Annotated[int, Ge(2), Le(MOST)]
    """Train images that serve: the diffusion model learns them, they get candidates, encoders are trained on them."""
    steps: Annotated[int, Ge(1), Le(MOST)]
    """Steps of the diffusion model."""
    epochs: Annotated[int, Ge(1), Le(MOST)]
    """Epochs of an encoder."""


BATCH = 64
"""Images of a step of the diffusion model on a CPU."""
_SMALLEST = 8
"""Pixels a side of the images that a diffusion model learns."""


def size_to_data(
    recipe: str, count: int, size: int, *, accelerated: bool, channels: int = 1, extent: Extent | None = None
) -> dict[str, Any]:
    """Return nested settings for ``count`` train images of ``size`` pixels; empty for recipes with fixed sizes.

    Args:
        recipe: the recipe's name.
        count: train images.
        size: their side in pixels.
        accelerated: whether there is a GPU.
        channels: of the images; candidates and views of colour images keep more of their colours.
        extent: how much there is time for; None: what is usual for so many images.

    Raises:
        UserError: the images are too small for the recipe ``folder``.
    """
    if recipe == "smoke":
        batch = _power_of_two(min(32, count))
        return nested({"pretrain.batch_size": batch, "diffusion.batch_size": batch})
    if recipe != "folder":
        return {}
    if size < _SMALLEST:
        raise UserError(
            f"the images have {size} pixels a side, and a diffusion model needs {_SMALLEST}: --images.size 8"
        )
    extent = extent or usual_extent(count, accelerated=accelerated)
    sized = _large(count, size, extent) if accelerated else {**_small(count, size, extent), **_colour(channels)}
    return nested(sized)


def usual_extent(count: int, *, accelerated: bool) -> Extent:
    """What a run does that no time was given for."""
    if accelerated:
        return Extent(count, int(min(max(count * 4, 20_000), 194_000)), _passes(count, 50_000_000, 200, 1000))
    images = min(count, 10_000)
    return Extent(images, 4500, _passes(images, 400_000, 40, 400))


def _power_of_two(value: int) -> int:
    """The largest power of two that is not above ``value``, at least 2."""
    return max(2, 1 << (value.bit_length() - 1))


def _passes(count: int, seen: int, least: int, most: int) -> int:
    """Epochs in which about ``seen`` images are seen."""
    return int(min(max(seen // count, least), most))


def _memories(count: int, most: int) -> dict[str, Any]:
    """Memories of half the images: in larger ones a neighbour is soon an older copy of the image itself."""
    rows = min(most, _power_of_two(count // 2))
    those = ("moco", "nnclr", "all4one", "ressl", "positive.neighbour")
    memories = {f"pretrain.{name}.memory": max(rows, All4OneSettings().neighbours) for name in those}
    return {**memories, "pretrain.swav.memory": min(rows, SwAVSettings().memory)}


def view_size(size: int) -> int:
    """Side of the views of images of ``size`` pixels on a CPU, and of what the diffusion model learns and draws.

    Views of seven tenths cost half, and show things about as large as the whole images do (FixRes, arXiv 1906.06423).
    """
    return size if size < 24 else 8 * round(0.7 * size / 8) if size > 32 else 4 * round(0.7 * size / 4)


def _colour(channels: int) -> dict[str, Any]:
    """What colour images need otherwise than gray ones.

    Their views change colours half as much as SimCLR's (studies/views). Their candidates start from the anchor itself,
    and pass three tenths of the noise levels without guidance: those that go farther lose what tells photographs apart,
    and the encoder learnt less than without them (studies/draws, studies/strength).
    """
    if channels != 3:
        return {}
    half = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05, "gray": 0.1}
    views = {f"pretrain.augment.{name}": value for name, value in half.items()}
    return {**views, "synthesize.start": "anchor", "synthesize.strength": 0.3, "synthesize.guidance_scale": 1.0}


def _small(count: int, size: int, extent: Extent) -> dict[str, Any]:
    """Networks for two CPU cores: the encoder and the diffusion model of the recipe fashion-mnist."""
    batch, side = _power_of_two(min(256, max(extent.images // 4, 2))), view_size(size)
    stem = {} if size <= 32 else {"pretrain.backbone.stem": "half"}
    return {
        "diffusion.images": extent.images,
        "diffusion.size": side,
        "diffusion.widths": [32, 64] if side < 12 else [16, 32, 64] if side <= 32 else [16, 32, 64, 128],
        "diffusion.blocks": 1,
        "diffusion.attention": [],
        "diffusion.norm_groups": 8,
        "diffusion.dropout": 0.0,
        "diffusion.max_strength": 0.5,
        "diffusion.stratified_levels": True,
        "diffusion.steps": extent.steps,
        "diffusion.batch_size": BATCH,
        "diffusion.lr": 1.2e-3,
        "diffusion.warmup_steps": min(100, extent.steps // 4),
        "diffusion.schedule": "cosine",
        "diffusion.ema_decay": 0.998,
        "diffusion.sample_every": max(extent.steps // 8, 1),
        "synthesize.anchors": extent.images,
        "synthesize.candidates": 1,
        "synthesize.sampler": "sde-dpmsolver++",
        "synthesize.strength": 0.5,
        "synthesize.start": "other",
        "synthesize.guidance_scale": 2.0,
        "synthesize.steps": 10,
        "synthesize.clip_sample": True,
        "synthesize.gate": "near",  # studies/near
        "pretrain.images": extent.images,
        "pretrain.positive.objective": "nt_xent",
        "pretrain.backbone.args": {
            "layers": [1, 1, 1, 1],
            "channels": [16, 32, 64, 128],
            "stem_type": "deep",
            "stem_width": 8,
        },
        "pretrain.augment.size": side,
        **stem,
        "pretrain.projector.hidden": 512,
        "pretrain.projector.dim": 128,
        "pretrain.projector.batch_norm": True,
        **_memories(extent.images, 4096),
        "pretrain.dino.momentum": [0.99, 1.0],
        "pretrain.augment.crop_scale": [0.2, 1.0],
        "pretrain.epochs": extent.epochs,
        "pretrain.batch_size": batch,
        "pretrain.lr": round(0.48 * batch / 256, 4),
        "pretrain.warmup_epochs": min(5, extent.epochs // 4),
        "evaluate.train_images": 10_000,
    }


def _large(count: int, size: int, extent: Extent) -> dict[str, Any]:
    """The paper's settings."""
    batch = _power_of_two(min(1024, max(extent.images // 4, 2)))
    levels = 4 if size <= 64 else 5
    some = {} if extent.images >= count else {"diffusion.images": extent.images, "synthesize.anchors": extent.images}
    return {
        **some,
        "diffusion.widths": [128, 256, 256, 256, 512][:levels],
        "diffusion.attention": [1 if size <= 32 else 2],
        "diffusion.steps": extent.steps,
        "diffusion.batch_size": min(batch, 256),
        "diffusion.warmup_steps": min(5000, extent.steps // 10),
        "pretrain.augment.crop_scale": [0.08, 1.0] if extent.images > 20_000 else [0.2, 1.0],
        "pretrain.epochs": extent.epochs,
        "pretrain.warmup_epochs": min(10, extent.epochs // 4),
        "pretrain.batch_size": batch,
        "pretrain.lr": round(0.5 * batch / 1024, 4),
        **_memories(extent.images, 65536),
    }
