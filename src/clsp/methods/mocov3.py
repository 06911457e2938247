"""MoCo v3: MoCo without the memory, with a predictor. Chen, Xie and He, arXiv 2104.02057.

q = h(g(f(x))), k = g'(f'(x)) without gradient; L = l(q1, k2) + l(q2, k1) with l = 2 tau CE(q k^T / tau,
diagonal). Other images' keys are the only negatives.

The additional positive adds lambda * mean(2 - 2 cos(q1, q3)), both from the trained network, as in CLSP-MoCo's code.
"""

from __future__ import annotations

import torch
from torch import nn

from clsp.encoders.backbone import feature_count
from clsp.encoders.config import PredictorConfig, ProjectorConfig
from clsp.encoders.heads import HeadShape, predictor, projector
from clsp.engine.ema import EMA
from clsp.engine.schedule import cosine_between
from clsp.methods.base import Losses, Method, Views, embed
from clsp.methods.config import BatchNormMode, MoCoV3Config
from clsp.objectives.contrastive import paired_nce


class MoCoV3(Method):
    """Encoder f, projector g, predictor h, and the moving copy of f and g."""

    def __init__(
        self,
        encoder: nn.Module,
        head: ProjectorConfig,
        prediction: PredictorConfig,
        config: MoCoV3Config,
        *,
        batch_norm: BatchNormMode,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(feature_count(encoder), head, HeadShape(batch_norm=True, last_norm="plain"))
        self.predictor = predictor(head.dim, prediction)
        self.momentum = EMA(nn.Sequential(self.encoder, self.projector))
        self.config, self.batch_norm = config, batch_norm

    def forward(self, views: Views) -> Losses:
        """Symmetric InfoNCE within the batch."""
        network = nn.Sequential(self.encoder, self.projector, self.predictor)
        q1, q2, q3 = embed(network, views, self.batch_norm)
        with torch.no_grad():
            k1, k2, _ = embed(self.momentum.average, views.real(), self.batch_norm)
        tau = self.config.temperature
        loss = 2.0 * tau * (paired_nce(q1, k2.detach(), tau) + paired_nce(q2, k1.detach(), tau))
        return Losses({"mocov3": loss}, q1, q2, None if q3 is None else (q1, q3))

    def before_step(self, done: float) -> None:
        """Move the momentum network."""
        first, last = self.config.momentum
        self.momentum.update(nn.Sequential(self.encoder, self.projector), cosine_between(first, last, done))
