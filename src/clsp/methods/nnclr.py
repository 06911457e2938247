"""NNCLR: the positive is a view's nearest neighbour in a memory of other images. Dwibedi et al., arXiv 2104.14548.

z = g(f(x)), p = h(z), nn(z) = the nearest row of the memory, without gradient;
L = 1/2 CE(nn(z1) p2^T / tau, diagonal) + 1/2 CE(nn(z2) p1^T / tau, diagonal). The memory takes the first views' z,
after the search: a batch that was already in it would find itself.

The additional positive adds lambda * mean(2 - 2 cos(z1, z3)) between projections, as in CLSP-SimCLR: the neighbours are
searched by z, so that is the space in which a candidate should lie near its anchor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clsp import distributed
from clsp.encoders.backbone import feature_count
from clsp.encoders.config import PredictorConfig, ProjectorConfig
from clsp.encoders.heads import HeadShape, predictor, projector
from clsp.encoders.memory import Memory
from clsp.methods.base import Losses, Method, Views, embed
from clsp.methods.config import BatchNormMode, NNCLRConfig
from clsp.objectives.contrastive import paired_nce


class NNCLR(Method):
    """Encoder f, projector g, predictor h, and the memory."""

    def __init__(
        self,
        encoder: nn.Module,
        head: ProjectorConfig,
        prediction: PredictorConfig,
        config: NNCLRConfig,
        *,
        batch_norm: BatchNormMode,
        seed: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        usual = HeadShape(layers=3, batch_norm=True, last_norm="affine")
        self.projector = projector(feature_count(encoder), head, usual)
        self.predictor = predictor(head.dim, prediction)
        self.memory = Memory(config.memory, head.dim, seed=seed)
        self.config, self.batch_norm = config, batch_norm
        self._seen: tuple[Tensor, Tensor] | None = None

    def forward(self, views: Views) -> Losses:
        """Contrast each view's neighbour with the other view's prediction."""
        z1, z2, z3 = embed(nn.Sequential(self.encoder, self.projector), views, self.batch_norm)
        found1, found2 = self.memory.search(z1, 1), self.memory.search(z2, 1)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        tau = self.config.temperature
        loss = 0.5 * paired_nce(found1.rows[:, 0], p2, tau) + 0.5 * paired_nce(found2.rows[:, 0], p1, tau)
        self._seen = z1.detach(), views.ids
        return Losses({"nnclr": loss}, z1, z2, None if z3 is None else (z1, z3), found1.ids[:, 0])

    @torch.no_grad()
    def after_step(self) -> None:
        """Remember the first views."""
        assert self._seen is not None
        z1, ids = self._seen
        self.memory.add(distributed.gather_detached(z1), distributed.gather_detached(ids))
        self._seen = None
