"""BYOL: predict what a slowly moving copy of the network makes of the other view. Grill et al., arXiv 2006.07733.

p = h(g(f(x))), z' = g'(f'(x)) without gradient; L = [2 - 2 cos(p1, z2')] + [2 - 2 cos(p2, z1')]. There are no
negatives: predictor and moving target keep the embedding from collapsing.

The additional positive is one more view that predicts: lambda * mean(2 - 2 cos(p3, z1')). The target is the real
anchor, never the synthetic image, and it is the target network's: a pull between two trained embeddings would be a
term that collapse satisfies.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

from torch import nn

from clsp.encoders.heads import Heads, HeadShape, predictor
from clsp.engine.ema import EMA
from clsp.engine.schedule import cosine
from clsp.methods.base import Method, Output, Views, embed
from clsp.objectives.alignment import alignment
from clsp.settings import settings
from clsp.settings.types import Momentum


@settings
class BYOLSettings:
    """BYOL (arXiv 2006.07733)."""

    momentum: Momentum = field(default_factory=lambda: [0.99, 1.0])
    """Decay of the target network at the first and at the last step, along a cosine."""


class BYOL(Method):
    """Encoder f, projector g, predictor h, and the moving copy of f and g."""

    Settings = BYOLSettings
    head: ClassVar[HeadShape] = HeadShape(batch_norm=True)
    takes_neighbours: ClassVar[bool] = True

    def __init__(self, encoder: nn.Module, heads: Heads, settings: Any, *, seed: int) -> None:
        super().__init__(encoder, heads, settings, seed=seed)
        self.predictor = predictor(heads.projector.dim, heads.predictor)
        self.target = EMA(self.network, cosine(settings.momentum))

    def forward(self, views: Views) -> Output:
        """Both views predict each other's target."""
        z1, z2, z3 = self.embed(views)
        t1, t2, _ = embed(self.target, views.real(), self.batch_norm)
        weights = views.pair_weights
        loss = alignment(self.predictor(z1), self.exchanged(t2, views).rows, weights=weights)
        loss = loss + alignment(self.predictor(z2), self.exchanged(t1, views).rows, weights=weights)
        return Output({"byol": loss}, z1, z2, None if z3 is None else (t1, self.predictor(z3)))
