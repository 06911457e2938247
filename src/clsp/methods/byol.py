"""BYOL: predict what a slowly moving copy of the network makes of the other view. Grill et al., arXiv 2006.07733.

p = h(g(f(x))), z' = g'(f'(x)) without gradient; L = [2 - 2 cos(p1, z2')] + [2 - 2 cos(p2, z1')]. There are no
negatives: predictor and moving target keep the embedding from collapsing.

The additional positive is one more view that predicts: lambda * mean(2 - 2 cos(p3, z1')). The target is the real
anchor, never the synthetic image, and it is the target network's: a pull between two trained embeddings would be a
term that collapse satisfies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clsp.encoders.backbone import feature_count
from clsp.encoders.config import PredictorConfig, ProjectorConfig
from clsp.encoders.heads import HeadShape, predictor, projector
from clsp.engine.ema import EMA
from clsp.engine.schedule import cosine_between
from clsp.methods.base import Losses, Method, Views, embed
from clsp.methods.config import BatchNormMode, BYOLConfig
from clsp.objectives.alignment import alignment


class BYOL(Method):
    """Encoder f, projector g, predictor h, and the moving copy of f and g."""

    def __init__(
        self,
        encoder: nn.Module,
        head: ProjectorConfig,
        prediction: PredictorConfig,
        config: BYOLConfig,
        *,
        batch_norm: BatchNormMode,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(feature_count(encoder), head, HeadShape(batch_norm=True))
        self.predictor = predictor(head.dim, prediction)
        self.target = EMA(nn.Sequential(self.encoder, self.projector))
        self.config, self.batch_norm = config, batch_norm

    def forward(self, views: Views) -> Losses:
        """Both views predict each other's target."""
        z1, z2, z3 = embed(nn.Sequential(self.encoder, self.projector), views, self.batch_norm)
        t1, t2 = self._targets(views)
        loss = alignment(self.predictor(z1), t2) + alignment(self.predictor(z2), t1)
        return Losses({"byol": loss}, z1, z2, None if z3 is None else (t1, self.predictor(z3)))

    @torch.no_grad()
    def _targets(self, views: Views) -> tuple[Tensor, Tensor]:
        t1, t2, _ = embed(self.target.average, views.real(), self.batch_norm)
        return t1.detach(), t2.detach()

    def before_step(self, done: float) -> None:
        """Move the target network."""
        first, last = self.config.momentum
        self.target.update(nn.Sequential(self.encoder, self.projector), cosine_between(first, last, done))
