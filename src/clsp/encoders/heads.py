"""Heads: what stands between the encoder and the loss, and is thrown away after training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from clsp.encoders.config import BatchNormMode, PredictorConfig, ProjectorConfig

LastNorm = Literal["none", "affine", "plain"]


@dataclass(frozen=True)
class HeadShape:
    """A projection head as a method's paper has it, but for the widths."""

    layers: int = 2
    """Linear layers."""
    batch_norm: bool = False
    """BatchNorm after every hidden layer."""
    last_norm: LastNorm = "none"
    """BatchNorm after the last layer: none, with scale and shift (affine), or without (plain)."""
    gelu: bool = False
    """GELU in place of ReLU."""


@dataclass(frozen=True, kw_only=True)
class Heads:
    """What a recipe says of the heads of every method."""

    projector: ProjectorConfig
    predictor: PredictorConfig
    batch_norm: BatchNormMode = "joint"
    """Whose images share BatchNorm statistics, see `clsp.methods.base.embed`."""


def projector(inputs: int, config: ProjectorConfig, usual: HeadShape) -> nn.Sequential:
    """Make the projection head g: Linear - (BatchNorm) - ReLU or GELU, repeated, a last Linear, perhaps a BatchNorm.

    Args:
        inputs: width of the encoder's features.
        config: widths, and what is to differ from ``usual``.
        usual: the method's own shape, for what ``config`` leaves open (null).
    """
    count = usual.layers if config.layers is None else config.layers
    batch_norm = usual.batch_norm if config.batch_norm is None else config.batch_norm
    last_norm = usual.last_norm if config.last_norm is None else config.last_norm
    layers: list[nn.Module] = []
    width = inputs
    for _ in range(count - 1):
        layers.append(nn.Linear(width, config.hidden))
        if batch_norm:
            layers.append(nn.BatchNorm1d(config.hidden))
        layers.append(nn.GELU() if usual.gelu else nn.ReLU(inplace=True))
        width = config.hidden
    layers.append(nn.Linear(width, config.dim))
    if last_norm != "none":
        layers.append(nn.BatchNorm1d(config.dim, affine=last_norm == "affine"))
    return nn.Sequential(*layers)


def predictor(dim: int, config: PredictorConfig) -> nn.Sequential:
    """Make the predictor h: Linear - BatchNorm - ReLU - Linear, from embeddings to embeddings."""
    return nn.Sequential(
        nn.Linear(dim, config.hidden),
        nn.BatchNorm1d(config.hidden),
        nn.ReLU(inplace=True),
        nn.Linear(config.hidden, dim),
    )


def feature_count(model: nn.Module) -> int:
    """Width of the features that ``model`` returns."""
    return int(torch.as_tensor(model.num_features))
