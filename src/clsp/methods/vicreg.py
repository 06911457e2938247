"""VICReg: views agree while every feature varies and no two vary together. Bardes et al., arXiv 2105.04906.

z = g(f(x)); L = invariance * MSE(z1, z2) + variance * V + covariance * C. No normalisation, no negatives, no target
network.

The additional positive adds lambda * mean(2 - 2 cos(z1, z3)) between projections, as in CLSP-SimCLR.
"""

from __future__ import annotations

from torch import nn

from clsp.encoders.backbone import feature_count
from clsp.encoders.config import ProjectorConfig
from clsp.encoders.heads import HeadShape, projector
from clsp.methods.base import Losses, Method, Views, embed
from clsp.methods.config import BatchNormMode, VICRegConfig
from clsp.objectives.redundancy import vicreg


class VICReg(Method):
    """Encoder f and projector g."""

    def __init__(
        self, encoder: nn.Module, head: ProjectorConfig, config: VICRegConfig, *, batch_norm: BatchNormMode
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(feature_count(encoder), head, HeadShape(layers=3, batch_norm=True))
        self.config, self.batch_norm = config, batch_norm

    def forward(self, views: Views) -> Losses:
        """Compute the three terms."""
        z1, z2, z3 = embed(nn.Sequential(self.encoder, self.projector), views, self.batch_norm)
        invariance, variance, covariance = vicreg(z1, z2)
        terms = {
            "invariance": self.config.invariance * invariance,
            "variance": self.config.variance * variance,
            "covariance": self.config.covariance * covariance,
        }
        return Losses(terms, z1, z2, None if z3 is None else (z1, z3))
