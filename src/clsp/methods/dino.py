"""DINO: a centred and sharpened teacher is predicted, and it follows the student. Caron et al., arXiv 2104.14294.

z = g(f(x)), s = n(z) C^T with unit prototypes C, t the same by the moving copies of f, g and C, without gradient;
q = softmax((t - c) / tau_t), L = 1/2 H(q1, softmax(s2 / tau)) + 1/2 H(q2, softmax(s1 / tau)). The centre c follows the
mean of t, after the loss. With local crops the student predicts both targets from each of them, too, and L is the mean
over all pairs (multi-crop).

The additional positive adds lambda * mean(2 - 2 cos(z1, z3)) between the student's projections, as CLSP-MoCo's code
takes both from the trained network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsp import distributed
from clsp.encoders.backbone import feature_count
from clsp.encoders.config import ProjectorConfig
from clsp.encoders.heads import HeadShape, projector
from clsp.encoders.prototypes import Prototypes
from clsp.engine.ema import EMA
from clsp.engine.schedule import cosine_between
from clsp.methods.base import Losses, Method, Views, embed, embed_local
from clsp.methods.config import BatchNormMode, DINOConfig
from clsp.objectives.distribution import swapped_prediction


class DINO(Method):
    """Encoder f, projector g, prototypes C, the teacher, and its centre."""

    center: Tensor

    def __init__(
        self, encoder: nn.Module, head: ProjectorConfig, config: DINOConfig, *, batch_norm: BatchNormMode
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(feature_count(encoder), head, HeadShape(layers=3, gelu=True))
        self.projector.apply(_initialise)
        self.prototypes = Prototypes(config.prototypes, head.dim)
        self.teacher = EMA(nn.Sequential(self.encoder, self.projector, self.prototypes))
        self.register_buffer("center", torch.zeros(config.prototypes))
        self.config, self.batch_norm = config, batch_norm
        self._seen: Tensor | None = None

    def forward(self, views: Views) -> Losses:
        """Predict the teacher's view of one from the other."""
        network = nn.Sequential(self.encoder, self.projector)
        z1, z2, z3 = embed(network, views, self.batch_norm)
        local = embed_local(network, views, self.batch_norm)
        every = (z1, z2, *local)
        logits = self.prototypes(torch.cat(every), frozen=views.done < self.config.frozen).chunk(len(every))
        with torch.no_grad():
            t1, t2, _ = embed(self.teacher.average, views.real(), self.batch_norm)
            sharp = self.teacher_temperature(views.done)
            targets = [F.softmax((t - self.center) / sharp, dim=1) for t in (t1, t2)]
        loss = swapped_prediction(targets, logits, self.config.temperature)
        self._seen = torch.cat((t1, t2)).mean(dim=0, keepdim=True)
        return Losses({"dino": loss}, z1, z2, None if z3 is None else (z1, z3))

    def teacher_temperature(self, done: float) -> float:
        """tau_t at the share ``done`` of the training: a line from the first to the last value, then the last."""
        first, last = self.config.teacher_temperature
        warmup = self.config.teacher_warmup
        return last if done >= warmup else first + (last - first) * done / warmup

    def before_step(self, done: float) -> None:
        """Move the teacher."""
        first, last = self.config.momentum
        student = nn.Sequential(self.encoder, self.projector, self.prototypes)
        self.teacher.update(student, cosine_between(first, last, done))

    def after_step(self) -> None:
        """Move the centre towards the mean of the teacher's outputs on all processes."""
        assert self._seen is not None
        mean = distributed.gather_detached(self._seen).mean(dim=0)
        self.center.lerp_(mean, 1.0 - self.config.center_momentum)
        self._seen = None


def _initialise(part: nn.Module) -> None:
    """The paper's code starts its head with small weights."""
    if isinstance(part, nn.Linear):
        nn.init.trunc_normal_(part.weight, std=0.02)
        nn.init.zeros_(part.bias)
