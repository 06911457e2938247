"""DINO: a centred and sharpened teacher is predicted, and it follows the student. Caron et al., arXiv 2104.14294.

z = g(f(x)), s = n(z) C^T with unit prototypes C, t the same by the moving copies of f, g and C, without gradient;
q = softmax((t - c) / tau_t), L = 1/2 H(q1, softmax(s2 / tau)) + 1/2 H(q2, softmax(s1 / tau)). The centre c follows the
mean of t, after the loss. With local crops the student predicts both targets from each of them, too, and L is the mean
over all pairs (multi-crop).

The additional positive adds lambda * mean(2 - 2 cos(z1, z3)) between the student's projections, as CLSP-MoCo's code
takes both from the trained network.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsp import distributed
from clsp.encoders.heads import Heads, HeadShape
from clsp.encoders.memory import Deferred
from clsp.encoders.prototypes import Prototypes
from clsp.engine.ema import EMA
from clsp.engine.schedule import cosine
from clsp.methods.base import Method, Output, Views, embed, embed_local, pair
from clsp.objectives.distribution import swapped_prediction
from clsp.settings import Fraction, Positive, settings
from clsp.settings.types import AtLeastTwo, Momentum, Pair


@settings
class DINOSettings:
    """DINO (arXiv 2104.14294) with two views; the embedding z is the bottleneck before the prototypes."""

    prototypes: AtLeastTwo = 4096
    """Outputs of the last layer."""
    temperature: Positive = 0.1
    """tau of the student."""
    teacher_temperature: Pair = field(default_factory=lambda: [0.04, 0.07])
    """tau of the teacher at the first step and after its warm-up, along a line."""
    teacher_warmup: Fraction = 0.0
    """Fraction of the training that this warm-up takes; with 0 the second value holds from the start."""
    center_momentum: Fraction = 0.9
    """Decay of the centre that is taken from the teacher's outputs."""
    momentum: Momentum = field(default_factory=lambda: [0.9995, 1.0])
    """Decay of the teacher at the first and at the last step, along a cosine."""
    frozen: Fraction = 0.001
    """Fraction of the training, at its beginning, in which the prototypes do not move."""


class Center(Deferred):
    """c, the moving mean of the teacher's outputs.

    Attributes:
        value: float [K].
    """

    value: Tensor

    def __init__(self, size: int, momentum: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(size))
        self._momentum = momentum
        self._noted: Tensor | None = None

    @property
    def moves(self) -> bool:
        """Whether it follows at all."""
        return self._momentum < 1.0

    def note(self, outputs: Tensor) -> None:
        """Note the teacher's outputs of this process, float [N, K]."""
        self._noted = outputs.mean(dim=0, keepdim=True)

    def flush(self) -> None:
        """Move towards the mean of the outputs on all processes."""
        if self._noted is not None:
            self.value.lerp_(distributed.gather_detached(self._noted).mean(dim=0), 1.0 - self._momentum)
            self._noted = None


class DINO(Method):
    """Encoder f, projector g, prototypes C, the teacher, and its centre."""

    Settings = DINOSettings
    settings: DINOSettings
    head: ClassVar[HeadShape] = HeadShape(layers=3, gelu=True)
    multi_crop: ClassVar[bool] = True

    def __init__(self, encoder: nn.Module, heads: Heads, settings: Any, *, seed: int) -> None:
        super().__init__(encoder, heads, settings, seed=seed)
        self.network.projector.apply(_initialise)
        self.prototypes = Prototypes(settings.prototypes, heads.projector.dim)
        self.teacher = EMA(nn.Sequential(self.network, self.prototypes), cosine(settings.momentum))
        self.center = Center(settings.prototypes, settings.center_momentum)

    def forward(self, views: Views) -> Output:
        """Predict the teacher's view of one from the other."""
        z1, z2, z3 = self.embed(views)
        every = (z1, z2, *embed_local(self.network, views, self.batch_norm))
        logits = self.prototypes(torch.cat(every), frozen=views.progress < self.settings.frozen).chunk(len(every))
        t1, t2, _ = embed(self.teacher, views.real(), self.batch_norm)
        sharp = self.teacher_temperature(views.progress)
        targets = [F.softmax((t - self.center.value) / sharp, dim=1) for t in (t1, t2)]
        loss = swapped_prediction(targets, logits, self.settings.temperature, weights=views.pair_weights)
        self.center.note(torch.cat((t1, t2)))
        return Output({"dino": loss}, z1, z2, pair(z1, z3))

    def teacher_temperature(self, progress: float) -> float:
        """tau_t at the fraction ``progress`` of the training: a line from the first to the last value, then that."""
        first, last = self.settings.teacher_temperature
        warmup = self.settings.teacher_warmup
        return last if progress >= warmup else first + (last - first) * progress / warmup


def _initialise(part: nn.Module) -> None:
    """The paper's code starts its head with small weights."""
    if isinstance(part, nn.Linear):
        nn.init.trunc_normal_(part.weight, std=0.02)
        nn.init.zeros_(part.bias)
