"""NNCLR: the positive is a view's nearest neighbour in a memory of other images. Dwibedi et al., arXiv 2104.14548.

z = g(f(x)), p = h(z), nn(z) = the nearest row of the memory, without gradient;
L = 1/2 CE(nn(z1) p2^T / tau, diagonal) + 1/2 CE(nn(z2) p1^T / tau, diagonal). The memory takes the first views' z,
after the search: a batch that was already in it would find itself.

The additional positive adds lambda * mean(2 - 2 cos(z1, z3)) between projections, as in CLSP-SimCLR: the neighbours are
searched by z, so that is the space in which a candidate should lie near its anchor.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from clsp.encoders.heads import Heads, HeadShape, predictor
from clsp.encoders.memory import Memory
from clsp.methods.base import Method, Output, Views, pair
from clsp.objectives.paired_nce import paired_nce
from clsp.settings import Count, Positive, settings


@settings
class NNCLRSettings:
    """NNCLR (arXiv 2104.14548)."""

    temperature: Positive = 0.2
    """tau of InfoNCE."""
    memory: Count = 65536
    """Embeddings in the support set."""


class NNCLR(Method):
    """Encoder f, projector g, predictor h, and the memory."""

    Settings = NNCLRSettings
    settings: NNCLRSettings
    head: ClassVar[HeadShape] = HeadShape(layers=3, batch_norm=True, last_norm="affine")

    def __init__(self, encoder: nn.Module, heads: Heads, settings: Any, *, seed: int) -> None:
        super().__init__(encoder, heads, settings, seed=seed)
        self.predictor = predictor(heads.projector.dim, heads.predictor)
        self.memory = Memory(settings.memory, heads.projector.dim, seed=seed)

    def forward(self, views: Views) -> Output:
        """Contrast each view's neighbour with the other view's prediction."""
        z1, z2, z3 = self.embed(views)
        found1, found2 = self.memory.search(z1, 1), self.memory.search(z2, 1)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        tau = self.settings.temperature
        first, second = (
            paired_nce(found1.rows[:, 0], p2, tau, **views.masks),
            paired_nce(found2.rows[:, 0], p1, tau, **views.masks),
        )
        self.memory.note(z1, views.ids)
        return Output({"nnclr": 0.5 * first + 0.5 * second}, z1, z2, pair(z1, z3), found1.ids[:, 0])
