"""SwAV: the cluster of one view is predicted from the others. Caron et al., arXiv 2006.09882.

z = g(f(x)), p = n(z) C^T with unit prototypes C, q = Sinkhorn(p) without gradient, over the batch and, later in the
training, the last embeddings of the same view; L = 1/2 H(q1, softmax(p2 / tau)) + 1/2 H(q2, softmax(p1 / tau)).
With local crops both codes are predicted from each of them, too, and L is the mean over all pairs (multi-crop).

The additional positive adds lambda * mean(2 - 2 cos(z1, z3)) between projections, as in CLSP-SimCLR.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clsp import distributed
from clsp.encoders.heads import Heads, HeadShape
from clsp.encoders.memory import Memory
from clsp.encoders.prototypes import Prototypes
from clsp.methods.base import Method, Output, Views, embed_local, pair
from clsp.objectives.distribution import sinkhorn, swapped_prediction
from clsp.settings import Count, Fraction, Positive, settings
from clsp.settings.types import AtLeastTwo


@settings
class SwAVSettings:
    """SwAV (arXiv 2006.09882) with two views, as solo-learn has it."""

    prototypes: AtLeastTwo = 3000
    """Clusters."""
    temperature: Positive = 0.1
    """tau of the prediction."""
    epsilon: Positive = 0.05
    """How soft the codes are."""
    iterations: Count = 3
    """Sinkhorn iterations."""
    memory: Count = 3840
    """Past embeddings of each view that help to make the codes."""
    memory_start: Fraction = 0.05
    """Fraction of the training after which they do, once there are so many."""
    frozen: Fraction = 0.002
    """Fraction of the training, at its beginning, in which the prototypes do not move."""


class SwAV(Method):
    """Encoder f, projector g, prototypes C, and a memory for each view."""

    Settings = SwAVSettings
    settings: SwAVSettings
    head: ClassVar[HeadShape] = HeadShape(batch_norm=True)
    multi_crop: ClassVar[bool] = True

    def __init__(self, encoder: nn.Module, heads: Heads, settings: Any, *, seed: int) -> None:
        super().__init__(encoder, heads, settings, seed=seed)
        dim = heads.projector.dim
        self.prototypes = Prototypes(settings.prototypes, dim)
        self.first_memory = Memory(settings.memory, dim, seed=seed)
        self.second_memory = Memory(settings.memory, dim, seed=seed + 1)

    def forward(self, views: Views) -> Output:
        """Swap the codes."""
        z1, z2, z3 = self.embed(views)
        every = (z1, z2, *embed_local(self.network, views, self.batch_norm))
        logits = self.prototypes(torch.cat(every), frozen=views.progress < self.settings.frozen).chunk(len(every))
        codes = self._codes(z1, self.first_memory, views), self._codes(z2, self.second_memory, views)
        loss = swapped_prediction(codes, logits, self.settings.temperature, weights=views.pair_weights)
        self.first_memory.note(z1, views.ids)
        self.second_memory.note(z2, views.ids)
        return Output({"swav": loss}, z1, z2, pair(z1, z3))

    @torch.no_grad()
    def _codes(self, own: Tensor, memory: Memory, views: Views) -> Tensor:
        """Codes of this process's rows, float [B, K]; made over all processes' rows and the memory once it is full."""
        embeddings = distributed.gather_detached(own)
        weights = torch.ones(len(embeddings), device=embeddings.device)
        if views.progress >= self.settings.memory_start:
            embeddings = torch.cat((embeddings, memory.rows))
            full = (memory.ids >= 0).all().to(weights.dtype)
            weights = torch.cat((weights, full.expand(len(memory.rows))))
        logits = self.prototypes(embeddings)
        codes = sinkhorn(logits, self.settings.epsilon, self.settings.iterations, weights=weights)
        return codes[distributed.rows(len(own), codes.device)]
