"""The optimisers of the pretraining."""

from __future__ import annotations

from typing import Any

import torch

from clsp.training.config import PretrainConfig


def build_optimizer(parameters: list[dict[str, Any]], config: PretrainConfig) -> torch.optim.Optimizer:
    """Make the optimiser that ``config.optimizer`` names over parameter groups with their learning rates."""
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, config.lr, weight_decay=config.weight_decay)
    if config.optimizer == "lars":
        from timm.optim import Lars

        # solo-learn's LARS for small images: trust coefficient 0.02, the layer's rate never above the global one;
        # biases and BatchNorm at the global rate without decay. timm adapts a group whose decay is not 0, or all that
        # is asked for.
        options = {"trust_coeff": 0.02, "trust_clip": True, "momentum": config.momentum}
        parted = [part for group in parameters for part in _by_decay(group, config.weight_decay)]
        lars: torch.optim.Optimizer = Lars(parted, config.lr, **options)
        return lars
    return torch.optim.SGD(parameters, config.lr, config.momentum, weight_decay=config.weight_decay)


def _by_decay(group: dict[str, Any], weight_decay: float) -> list[dict[str, Any]]:
    """Part a group into weights, which decay, and biases and BatchNorm (one dimension), which do not."""
    weights = [p for p in group["params"] if p.ndim > 1]
    others = [p for p in group["params"] if p.ndim <= 1]
    parts = [
        {**group, "params": weights, "weight_decay": weight_decay, "always_adapt": True},
        {**group, "params": others, "weight_decay": 0.0},
    ]
    return [part for part in parts if part["params"]]
