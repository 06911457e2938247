"""ReSSL: a strong view relates to other images as a weak view does. Zheng et al., arXiv 2107.09282.

q = n(g(f(x1))) of the strongly augmented first view, k = n(g'(f'(x2))) of the weak second one, without gradient: crop
and flip alone (`weak_second`). L = H(softmax(k M^T / tau_k), softmax(q M^T / tau_q)), in one
direction, as in the paper; the memory M takes k afterwards.

The additional positive adds lambda * mean(2 - 2 cos(q1, q3)), both from the trained network and strongly augmented, as
in CLSP-MoCo's code; in the second view's place (placement host) it is the momentum network's weak view.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clsp.encoders.heads import Heads
from clsp.encoders.memory import Memory
from clsp.engine.ema import EMA
from clsp.engine.schedule import cosine
from clsp.methods.base import Method, Output, Views, pair, together
from clsp.objectives.distribution import relational
from clsp.settings import Count, Positive, settings
from clsp.settings.types import Momentum


@settings
class ReSSLSettings:
    """ReSSL (arXiv 2107.09282), as solo-learn has it."""

    temperature: Positive = 0.1
    """tau of the trained network's relations."""
    key_temperature: Positive = 0.04
    """tau of the momentum network's; the smaller one."""
    memory: Count = 65536
    """Keys in the memory; at most as many as there are images, or an image meets its own old key."""
    momentum: Momentum = field(default_factory=lambda: [0.99, 1.0])
    """Decay of the momentum network at the first and at the last step, along a cosine."""
    teacher: Literal["weak", "strong"] = "weak"
    """What the momentum network sees: a view that keeps its colours (the paper), or one like the first view."""


class ReSSL(Method):
    """Encoder f, projector g, the moving copy of both, and the memory."""

    Settings = ReSSLSettings
    settings: ReSSLSettings
    weak_second = True

    def __init__(self, encoder: nn.Module, heads: Heads, settings: Any, *, seed: int) -> None:
        super().__init__(encoder, heads, settings, seed=seed)
        self.weak_second = settings.teacher == "weak"
        self.momentum = EMA(self.network, cosine(settings.momentum))
        self.memory = Memory(settings.memory, heads.projector.dim, seed=seed)

    def forward(self, views: Views) -> Output:
        """Compare the relations of both views to the memory."""
        q1, q3 = self._queries(views)
        k2 = self.momentum(views.second)
        taus = self.settings.temperature, self.settings.key_temperature
        loss = relational(q1, k2, self.memory.rows, *taus, weights=views.pair_weights)
        self.memory.note(k2, views.ids)
        return Output({"ressl": loss}, q1, k2, pair(q1, q3))

    def _queries(self, views: Views) -> tuple[Tensor, Tensor | None]:
        """Of the first view and of the positive; the second view is the momentum network's alone."""
        if views.positive is None:
            return self.network(views.first), None
        if self.batch_norm == "joint":
            first, *positives = self.network(torch.cat((views.first, views.positive))).split(len(views.ids))
            return first, together(positives)
        parts = views.positives if self.batch_norm == "views" else (views.positive,)
        return self.network(views.first), together([self.network(part) for part in parts])
