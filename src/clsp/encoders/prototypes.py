"""Prototypes: directions with which embeddings are compared (SwAV's clusters, DINO's last layer)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Prototypes(nn.Module):
    """K learned unit directions.

    They are normalised where they are used, with gradient (a weight-normed linear layer whose norm is fixed to 1), so
    that weight decay does not move them.

    Attributes:
        weight: the directions before they are normalised, float [K, D].
    """

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, dim))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, embeddings: Tensor, *, frozen: bool = False) -> Tensor:
        """Compare.

        Args:
            embeddings: float [B, D], not necessarily normalised.
            frozen: the prototypes' gradient is 0. (Not absent: distributed training waits for every gradient.)

        Returns:
            Cosines, float32 [B, K]; in 32 bit also under autocast, for what follows divides them by a small number.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            directions = F.normalize(self.weight.float(), dim=1)
            if frozen:
                directions = directions.detach() + 0.0 * directions
            return F.normalize(embeddings.float(), dim=1) @ directions.T
