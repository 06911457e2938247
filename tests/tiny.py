"""The smallest images, trainings, encoders and methods."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import nn

from clsp.diffusion.config import DiffusionConfig
from clsp.encoders.backbone import build_backbone
from clsp.encoders.config import BackboneConfig, BatchNormMode, PredictorConfig, ProjectorConfig
from clsp.encoders.export import EncoderSpec
from clsp.encoders.heads import Heads
from clsp.images.augment import draw_crops
from clsp.images.config import AugmentConfig
from clsp.images.imageset import Images, Split
from clsp.methods import METHODS
from clsp.training.config import PretrainConfig


class Tiny(nn.Module):
    """A convolution and the mean over the image: gray images [B, 1, H, W] to features [B, 5]."""

    num_features = 5

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3)

    def forward(self, x):
        return self.conv(x).relu().mean(dim=(2, 3))


def vit_config(patch=4, **args):
    """The smallest vision transformer."""
    return BackboneConfig(
        name="vit_tiny_patch16_224", args={"patch_size": patch, "embed_dim": 32, "depth": 2, "num_heads": 2, **args}
    )


def vit(size, *, channels=1, patch=1, **args):
    """The smallest vision transformer for images of ``size`` pixels."""
    config = vit_config(patch, **args)
    return build_backbone(config.name, config.args, channels=channels, size=size, stem="small")


def for_method(method, **settings):
    """Add to the settings of a short training what ``method`` cannot do without."""
    return {"method": method, **({"backbone": vit_config()} if METHODS[method].patches else {}), **settings}


SMALL = {"memory": 16, "prototypes": 7}
"""Settings of that name are this small in any method that has them."""


def small(method, **own):
    """The settings of ``method`` with few rows and prototypes; ``own`` goes before them."""
    kind = METHODS[method].Settings
    return {name: value for name, value in SMALL.items() if name in {item.name for item in fields(kind)}} | own


def make(method, encoder, *, projector=None, predictor=None, batch_norm: BatchNormMode = "joint", seed=0, **own):
    """Make a method by its name around ``encoder``; ``own`` are its own settings."""
    made = METHODS[method]
    heads = Heads(
        projector=projector or ProjectorConfig(hidden=16, dim=8),
        predictor=predictor or PredictorConfig(hidden=16),
        batch_norm=batch_norm,
    )
    return made(encoder, heads, made.Settings(**own), seed=seed)


def crops(ids, step=0):
    """The crops of three views."""
    config = AugmentConfig()
    return tuple(draw_crops(config, seed=0, step=step, ids=ids, views=torch.full_like(ids, n)) for n in range(3))


def _split(count: int, name: str, channels: int, size: int, rng: np.random.Generator) -> Split:
    labels = np.arange(count) % 3
    prototypes = np.random.default_rng(7).integers(40, 216, (3, channels, size, size))
    images = (prototypes[labels] + rng.integers(-40, 40, (count, channels, size, size))).astype(np.uint8)
    return Split(images=images, names=[f"{name}/{i:03d}" for i in range(count)], labels=labels)


def images_of(train: int = 48, test: int | None = 24, *, channels: int = 3, size: int = 16, seed: int = 0) -> Images:
    """Images of three classes, each a prototype and noise."""
    rng = np.random.default_rng(seed)
    parts = _split(train, "train", channels, size, rng), _split(test or 0, "test", channels, size, rng)
    return Images(source="made", train=parts[0], test=parts[1] if test else None, classes=("a", "b", "c"))


def plain_spec() -> EncoderSpec:
    """Of an encoder of gray images that are not normalised."""
    return EncoderSpec(name="none", channels=1, size=8, mean=[0.0], std=[1.0])


def pretrain_config(**changes) -> PretrainConfig:
    """Settings of a training of nine steps."""
    settings = {
        "backbone": BackboneConfig(args={"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 16]}),
        "projector": ProjectorConfig(hidden=16, dim=8),
        "predictor": PredictorConfig(hidden=16),
        **{name: made.Settings(**small(name)) for name, made in METHODS.items() if fields(made.Settings)},
        "epochs": 3,
        "batch_size": 16,
        "lr": 0.1,
        "warmup_epochs": 0.5,
        "log_every": 1,
        "knn_every": 0,
        "precision": "32",
    }
    return PretrainConfig(**{**settings, **changes})


def diffusion_config(**changes) -> DiffusionConfig:
    """Settings of the smallest diffusion model that has all parts."""
    settings = {
        "widths": [8, 16],
        "blocks": 1,
        "attention": [1],
        "norm_groups": 4,
        "timesteps": 100,
        "steps": 6,
        "batch_size": 8,
        "lr": 1e-3,
        "warmup_steps": 2,
        "ema_decay": 0.9,
        "sample_every": 0,
        "precision": "32",
    }
    return DiffusionConfig(**{**settings, **changes})


def plain_diffusion(folder: Path, *, size: int) -> None:
    """Save a model of gray images as plain diffusers makes it."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=size, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=4,
    )  # fmt: skip
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)
