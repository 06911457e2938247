"""Barlow Twins: the features of two views correlate one by one and not across. Zbontar et al., arXiv 2103.03230.

z = g(f(x)); L = scale * [sum_i (C_ii - 1)^2 + lambda_bt sum_{i != j} C_ij^2], C the correlation of z1 and z2 over the
batch. No negatives, no target network.

The additional positive adds lambda * mean(2 - 2 cos(z1, z3)) between projections, as in CLSP-SimCLR.
"""

from __future__ import annotations

from torch import nn

from clsp.encoders.backbone import feature_count
from clsp.encoders.config import ProjectorConfig
from clsp.encoders.heads import HeadShape, projector
from clsp.methods.base import Losses, Method, Views, embed
from clsp.methods.config import BarlowConfig, BatchNormMode
from clsp.objectives.redundancy import barlow_twins


class Barlow(Method):
    """Encoder f and projector g."""

    def __init__(
        self, encoder: nn.Module, head: ProjectorConfig, config: BarlowConfig, *, batch_norm: BatchNormMode
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(feature_count(encoder), head, HeadShape(layers=3, batch_norm=True))
        self.config, self.batch_norm = config, batch_norm

    def forward(self, views: Views) -> Losses:
        """Correlate the two views' features."""
        z1, z2, z3 = embed(nn.Sequential(self.encoder, self.projector), views, self.batch_norm)
        loss = self.config.scale * barlow_twins(z1, z2, self.config.redundancy_weight)
        return Losses({"barlow": loss}, z1, z2, None if z3 is None else (z1, z3))
