"""SimCLR: two views attract, all other images of the batch repel. Chen et al., arXiv 2002.05709.

z = g(f(x)); L = NT-Xent_tau(z1, z2). The additional positive of CLSP-SimCLR adds lambda * mean(2 - 2 cos(z1, z3)):
z3 comes from the same network, is no negative, and stands in no denominator; no gradient is stopped.
"""

from __future__ import annotations

from torch import nn

from clsp.encoders.backbone import feature_count
from clsp.encoders.config import ProjectorConfig
from clsp.encoders.heads import HeadShape, projector
from clsp.methods.base import Losses, Method, Views, embed
from clsp.methods.config import BatchNormMode, SimCLRConfig
from clsp.objectives.contrastive import nt_xent


class SimCLR(Method):
    """Encoder f and projector g, trained with NT-Xent."""

    def __init__(
        self,
        encoder: nn.Module,
        head: ProjectorConfig,
        config: SimCLRConfig,
        *,
        batch_norm: BatchNormMode,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(feature_count(encoder), head, HeadShape())
        self.config, self.batch_norm = config, batch_norm

    def forward(self, views: Views) -> Losses:
        """NT-Xent of the two views."""
        network = nn.Sequential(self.encoder, self.projector)
        z1, z2, z3 = embed(network, views, self.batch_norm)
        terms = {"nt_xent": nt_xent(z1, z2, self.config.temperature, ignore=views.ignore)}
        return Losses(terms, z1, z2, None if z3 is None else (z1, z3))
