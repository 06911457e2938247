"""The smallest encoders, and the views that a method sees."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import nn

from clsp.encoders.backbone import build_backbone
from clsp.encoders.config import BackboneConfig, BatchNormMode, PredictorConfig, ProjectorConfig
from clsp.encoders.heads import Heads
from clsp.images.augment import draw_crops
from clsp.images.config import AugmentConfig
from clsp.methods import METHODS


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
