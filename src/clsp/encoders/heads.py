"""Heads: what stands between the encoder and the loss, and is thrown away after training."""

from __future__ import annotations

from torch import nn

from clsp.encoders.config import ProjectorConfig


def projector(inputs: int, config: ProjectorConfig) -> nn.Sequential:
    """Make the projection head: Linear - (BatchNorm) - ReLU, repeated, and a last Linear; biases on."""
    layers: list[nn.Module] = []
    width = inputs
    for _ in range(config.layers - 1):
        layers.append(nn.Linear(width, config.hidden))
        if config.batch_norm:
            layers.append(nn.BatchNorm1d(config.hidden))
        layers.append(nn.ReLU(inplace=True))
        width = config.hidden
    return nn.Sequential(*layers, nn.Linear(width, config.dim))
