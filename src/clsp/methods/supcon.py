"""SupCon: all images of the same label attract. Khosla et al., arXiv 2004.11362. It sees the labels: an upper bound.

z = g(f(x)); L = L_out(z1, z2, labels). The additional positive adds lambda * mean(2 - 2 cos(z1, z3)), as in SimCLR.
"""

from __future__ import annotations

from torch import nn

from clsp.encoders.backbone import feature_count
from clsp.encoders.config import ProjectorConfig
from clsp.encoders.heads import HeadShape, projector
from clsp.errors import UserError
from clsp.methods.base import Losses, Method, Views, embed
from clsp.methods.config import BatchNormMode, SupConConfig
from clsp.objectives.contrastive import sup_con


class SupCon(Method):
    """Encoder f and projector g."""

    def __init__(
        self, encoder: nn.Module, head: ProjectorConfig, config: SupConConfig, *, batch_norm: BatchNormMode
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(feature_count(encoder), head, HeadShape())
        self.config, self.batch_norm = config, batch_norm

    def forward(self, views: Views) -> Losses:
        """Contrast labels instead of images.

        Raises:
            UserError: the data have no labels.
        """
        if views.labels is None:
            raise UserError("method supcon needs the labels of all images, and this source has none; use simclr")
        z1, z2, z3 = embed(nn.Sequential(self.encoder, self.projector), views, self.batch_norm)
        loss = sup_con(z1, z2, views.labels, self.config.temperature)
        return Losses({"sup_con": loss}, z1, z2, None if z3 is None else (z1, z3))
