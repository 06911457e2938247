"""ReSSL: a strong view relates to other images as a weak view does. Zheng et al., arXiv 2107.09282.

q = n(g(f(x1))) of the strongly augmented first view, k = n(g'(f'(x2))) of the weak second one, without gradient: crop
and flip alone (`clsp.methods.registry.WEAK_SECOND`). L = H(softmax(k M^T / tau_k), softmax(q M^T / tau_q)), in one
direction, as in the paper; the memory M takes k afterwards.

The additional positive adds lambda * mean(2 - 2 cos(q1, q3)), both from the trained network and strongly augmented, as
in CLSP-MoCo's code; in the second view's place (`positive_objective: host`) it is the momentum network's weak view.
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
from clsp.methods.base import Losses, Method, Views
from clsp.methods.config import BatchNormMode, ReSSLConfig
from clsp.objectives.distribution import relational


class ReSSL(Method):
    """Encoder f, projector g, the moving copy of both, and the memory."""

    def __init__(
        self, encoder: nn.Module, head: ProjectorConfig, config: ReSSLConfig, *, batch_norm: BatchNormMode, seed: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(feature_count(encoder), head, HeadShape())
        self.momentum = EMA(nn.Sequential(self.encoder, self.projector))
        self.memory = Memory(config.memory, head.dim, seed=seed)
        self.config, self.batch_norm = config, batch_norm
        self._seen: tuple[Tensor, Tensor] | None = None

    def forward(self, views: Views) -> Losses:
        """Compare the relations of both views to the memory."""
        q1, q3 = self._queries(views)
        with torch.no_grad():
            k2 = self.momentum.average(views.second)
        loss = relational(q1, k2, self.memory.rows, self.config.temperature, self.config.key_temperature)
        self._seen = k2.detach(), views.ids
        return Losses({"ressl": loss}, q1, k2, None if q3 is None else (q1, q3))

    def _queries(self, views: Views) -> tuple[Tensor, Tensor | None]:
        """Of the first view and of the positive; the second view is the momentum network's alone."""
        network = nn.Sequential(self.encoder, self.projector)
        if views.positive is None:
            return network(views.first), None
        if self.batch_norm == "joint":
            first, positive = network(torch.cat((views.first, views.positive))).chunk(2)
            return first, positive
        return network(views.first), network(views.positive)

    def before_step(self, done: float) -> None:
        """Move the momentum network, before the keys are made, as in the paper's code."""
        first, last = self.config.momentum
        self.momentum.update(nn.Sequential(self.encoder, self.projector), cosine_between(first, last, done))

    def after_step(self) -> None:
        """Remember the keys."""
        assert self._seen is not None
        keys, ids = self._seen
        self.memory.add(distributed.gather_detached(keys), distributed.gather_detached(ids))
        self._seen = None
