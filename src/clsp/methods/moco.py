"""MoCo v2+: queries attract the momentum network's keys, a memory of past keys repels.

He et al., arXiv 1911.05722; Chen et al., arXiv 2003.04297; symmetric and with a cosine momentum, as solo-learn has it
and CLSP uses it.

q = g(f(x)), k = g_m(f_m(x)); L = 1/2 [InfoNCE(q1, k2, M2) + InfoNCE(q2, k1, M1)], where M_v remembers the keys of view
v. The additional positive adds lambda * mean(2 - 2 cos(q1, q3)), both from the trained network, as in CLSP-MoCo's code
(which also computes k3 and never uses it: we do not).
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

from torch import Tensor, nn

from clsp.encoders.heads import Heads
from clsp.encoders.memory import Memory
from clsp.engine.ema import EMA
from clsp.engine.schedule import cosine
from clsp.methods.base import Method, Output, Views, embed, pair
from clsp.objectives.info_nce import info_nce
from clsp.positives.neighbour import Exchanged
from clsp.settings import Count, Positive, settings
from clsp.settings.types import Momentum


@settings
class MoCoSettings:
    """MoCo v2+ (arXiv 2003.04297, symmetric, as solo-learn has it)."""

    temperature: Positive = 0.2
    """tau of InfoNCE."""
    memory: Count = 32768
    """Keys in each of the two memories."""
    momentum: Momentum = field(default_factory=lambda: [0.99, 0.999])
    """Decay of the momentum network at the first and at the last step, along a cosine."""


class MoCo(Method):
    """Encoder f and projector g, their momentum copy, and two memories."""

    Settings = MoCoSettings
    settings: MoCoSettings
    takes_neighbours: ClassVar[bool] = True

    def __init__(self, encoder: nn.Module, heads: Heads, settings: Any, *, seed: int) -> None:
        super().__init__(encoder, heads, settings, seed=seed)
        self.momentum = EMA(self.network, cosine(settings.momentum))
        self.first_keys = Memory(settings.memory, heads.projector.dim, seed=seed)
        self.second_keys = Memory(settings.memory, heads.projector.dim, seed=seed + 1)

    def forward(self, views: Views) -> Output:
        """Symmetric InfoNCE against the memories."""
        q1, q2, q3 = self.embed(views)
        k1, k2, _ = embed(self.momentum, views.real(), self.batch_norm)
        loss = 0.5 * (
            self._contrast(q1, self.exchanged(k2, views), self.second_keys, views)
            + self._contrast(q2, self.exchanged(k1, views), self.first_keys, views)
        )
        self.first_keys.note(k1, views.ids)
        self.second_keys.note(k2, views.second_ids)
        return Output({"info_nce": loss}, q1, q2, pair(q1, q3))

    def _contrast(self, queries: Tensor, keys: Exchanged, memory: Memory, views: Views) -> Tensor:
        ignore, tau = views.ignored_among(memory.ids, keys.shown), self.settings.temperature
        return info_nce(queries, keys.rows, memory.rows, tau, weights=views.pair_weights, ignore=ignore)
