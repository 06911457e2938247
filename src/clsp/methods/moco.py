"""MoCo v2+: queries attract the momentum network's keys, a memory of past keys repels.

He et al., arXiv 1911.05722; Chen et al., arXiv 2003.04297; symmetric and with a cosine momentum, as solo-learn has it
and CLSP uses it.

q = g(f(x)), k = g_m(f_m(x)); L = 1/2 [InfoNCE(q1, k2, M2) + InfoNCE(q2, k1, M1)], where M_v remembers the keys of view
v. The additional positive adds lambda * mean(2 - 2 cos(q1, q3)), both from the trained network, as in CLSP-MoCo's code
(which also computes k3 and never uses it: we do not).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clsp import distributed
from clsp.encoders.backbone import feature_count
from clsp.encoders.config import ProjectorConfig
from clsp.encoders.heads import HeadShape, projector
from clsp.encoders.memory import Memory
from clsp.engine.ema import EMA
from clsp.engine.schedule import cosine_between
from clsp.methods.base import Losses, Method, Views, embed
from clsp.methods.config import BatchNormMode, MoCoConfig
from clsp.objectives.contrastive import info_nce


class MoCo(Method):
    """Encoder f and projector g, their momentum copy, and two memories."""

    def __init__(
        self,
        encoder: nn.Module,
        head: ProjectorConfig,
        config: MoCoConfig,
        *,
        batch_norm: BatchNormMode,
        seed: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(feature_count(encoder), head, HeadShape())
        self.momentum = EMA(nn.Sequential(self.encoder, self.projector))
        self.first_keys = Memory(config.memory, head.dim, seed=seed)
        self.second_keys = Memory(config.memory, head.dim, seed=seed + 1)
        self.config, self.batch_norm = config, batch_norm
        self._keys: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, views: Views) -> Losses:
        """Symmetric InfoNCE against the memories."""
        q1, q2, q3 = embed(nn.Sequential(self.encoder, self.projector), views, self.batch_norm)
        with torch.no_grad():
            k1, k2, _ = embed(self.momentum.average, views.real(), self.batch_norm)
        tau = self.config.temperature
        loss = 0.5 * (info_nce(q1, k2, self.second_keys.rows, tau) + info_nce(q2, k1, self.first_keys.rows, tau))
        self._keys = k1.detach(), k2.detach(), views.ids
        return Losses({"info_nce": loss}, q1, q2, None if q3 is None else (q1, q3))

    def before_step(self, done: float) -> None:
        """Move the momentum network, before the forward pass as CLSP does."""
        first, last = self.config.momentum
        self.momentum.update(nn.Sequential(self.encoder, self.projector), cosine_between(first, last, done))

    def after_step(self) -> None:
        """Remember this batch's keys. After the step: the backward pass still needed the old rows."""
        assert self._keys is not None
        k1, k2, ids = self._keys
        everyone = distributed.gather_detached(ids)
        self.first_keys.add(distributed.gather_detached(k1), everyone)
        self.second_keys.add(distributed.gather_detached(k2), everyone)
        self._keys = None
