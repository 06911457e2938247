"""The term of the additional positive: lambda times the paper's alignment, or times NT-Xent."""

from __future__ import annotations

import math

from torch import Tensor

from clsp.objectives.alignment import alignment
from clsp.objectives.contrastive import nt_xent
from clsp.training.config import PretrainConfig


def positive_term(pull: tuple[Tensor, Tensor], config: PretrainConfig, done: float) -> Tensor:
    """What the additional positive adds to the method's terms.

    Args:
        pull: embeddings of anchors and positives, as the method pairs them; float [B, D], not necessarily normalised.
        config: objective, lambda, its schedule, and what is left out.
        done: share of the training that is done, in [0, 1].

    Returns:
        A scalar.
    """
    if config.positive_objective == "nt_xent":
        term = nt_xent(*pull, config.positive_temperature)
    else:
        term = alignment(*pull, trim=config.positive_trim)
    return positive_weight(config, done) * term


def positive_weight(config: PretrainConfig, done: float) -> float:
    """Return lambda at the share ``done`` of the training."""
    shape = 0.5 * (1.0 + math.cos(math.pi * done)) if config.positive_schedule == "cosine" else 1.0
    return config.positive_weight * shape
