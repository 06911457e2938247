"""MoCo v3: MoCo without the memory, with a predictor. Chen, Xie and He, arXiv 2104.02057.

q = h(g(f(x))), k = g'(f'(x)) without gradient; L = l(q1, k2) + l(q2, k1) with l = 2 tau CE(q k^T / tau,
diagonal). Other images' keys are the only negatives.

The additional positive adds lambda * mean(2 - 2 cos(q1, q3)), both from the trained network, as in CLSP-MoCo's code.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

from torch import nn

from clsp.encoders.heads import Heads, HeadShape, predictor
from clsp.engine.ema import EMA
from clsp.engine.schedule import cosine
from clsp.methods.base import Method, Output, Views, embed, pair
from clsp.objectives.paired_nce import paired_nce
from clsp.settings import Positive, settings
from clsp.settings.types import Momentum


@settings
class MoCoV3Settings:
    """MoCo v3 (arXiv 2104.02057)."""

    temperature: Positive = 0.2
    """tau of InfoNCE."""
    momentum: Momentum = field(default_factory=lambda: [0.99, 1.0])
    """Decay of the momentum network at the first and at the last step, along a cosine."""


class MoCoV3(Method):
    """Encoder f, projector g, predictor h, and the moving copy of f and g."""

    Settings = MoCoV3Settings
    settings: MoCoV3Settings
    head: ClassVar[HeadShape] = HeadShape(batch_norm=True, last_norm="plain")
    takes_neighbours: ClassVar[bool] = True

    def __init__(self, encoder: nn.Module, heads: Heads, settings: Any, *, seed: int) -> None:
        super().__init__(encoder, heads, settings, seed=seed)
        self.predictor = predictor(heads.projector.dim, heads.predictor)
        self.momentum = EMA(self.network, cosine(settings.momentum))

    def forward(self, views: Views) -> Output:
        """Symmetric InfoNCE within the batch."""
        q1, q2, q3 = embed(nn.Sequential(self.network, self.predictor), views, self.batch_norm)
        k1, k2, _ = embed(self.momentum, views.real(), self.batch_norm)
        tau = self.settings.temperature
        first = paired_nce(q1, self.exchanged(k2, views).rows, tau, **views.masks)
        second = paired_nce(q2, self.exchanged(k1, views).rows, tau, **views.masks)
        return Output({"mocov3": 2.0 * tau * (first + second)}, q1, q2, pair(q1, q3))
