"""Features that keep away from each other: the repelling half of a contrast, without positives."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clsp import distributed
from clsp.objectives.precision import full_precision


@full_precision
def dispersive(features: Tensor) -> Tensor:
    """Dispersive loss of Wang and He (arXiv 2506.09027), its InfoNCE form with squared distances, as its code has it.

    L = log mean_ij exp(-|z_i - z_j|^2 / D) over all pairs of the global batch, each image with itself among them, where
    z is an image's features in one row of D values.

    Args:
        features: float [B, ...].

    Returns:
        A scalar in (-log G, 0]: 0 where all images have the same features.
    """
    z = distributed.gather(features.flatten(1))
    squares = z.square().sum(dim=1)
    distances = (squares[:, None] + squares - 2.0 * z @ z.T).clamp(min=0.0) / z.shape[1]
    return torch.logsumexp(-distances.flatten(), dim=0) - 2.0 * math.log(len(z))
