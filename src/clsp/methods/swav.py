"""SwAV: the cluster of one view is predicted from the others. Caron et al., arXiv 2006.09882.

z = g(f(x)), p = n(z) C^T with unit prototypes C, q = Sinkhorn(p) without gradient, over the batch and, later in the
training, the last embeddings of the same view; L = 1/2 H(q1, softmax(p2 / tau)) + 1/2 H(q2, softmax(p1 / tau)).
With local crops both codes are predicted from each of them, too, and L is the mean over all pairs (multi-crop).

The additional positive adds lambda * mean(2 - 2 cos(z1, z3)) between projections, as in CLSP-SimCLR.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clsp import distributed
from clsp.encoders.backbone import feature_count
from clsp.encoders.config import ProjectorConfig
from clsp.encoders.heads import HeadShape, projector
from clsp.encoders.memory import Memory
from clsp.encoders.prototypes import Prototypes
from clsp.methods.base import Losses, Method, Views, embed, embed_local
from clsp.methods.config import BatchNormMode, SwAVConfig
from clsp.objectives.distribution import sinkhorn, swapped_prediction


class SwAV(Method):
    """Encoder f, projector g, prototypes C, and a memory for each view."""

    def __init__(
        self, encoder: nn.Module, head: ProjectorConfig, config: SwAVConfig, *, batch_norm: BatchNormMode, seed: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(feature_count(encoder), head, HeadShape(batch_norm=True))
        self.prototypes = Prototypes(config.prototypes, head.dim)
        self.first_memory = Memory(config.memory, head.dim, seed=seed)
        self.second_memory = Memory(config.memory, head.dim, seed=seed + 1)
        self.config, self.batch_norm = config, batch_norm
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, views: Views) -> Losses:
        """Swap the codes."""
        network = nn.Sequential(self.encoder, self.projector)
        z1, z2, z3 = embed(network, views, self.batch_norm)
        local = embed_local(network, views, self.batch_norm)
        every = (z1, z2, *local)
        logits = self.prototypes(torch.cat(every), frozen=views.done < self.config.frozen).chunk(len(every))
        everyone1, everyone2 = distributed.gather_detached(z1), distributed.gather_detached(z2)
        q1 = self._codes(everyone1, self.first_memory, views)
        q2 = self._codes(everyone2, self.second_memory, views)
        loss = swapped_prediction((q1, q2), logits, self.config.temperature)
        self._seen = everyone1, everyone2, distributed.gather_detached(views.ids)
        return Losses({"swav": loss}, z1, z2, None if z3 is None else (z1, z3))

    @torch.no_grad()
    def _codes(self, embeddings: Tensor, memory: Memory, views: Views) -> Tensor:
        """Codes of this process's rows, float [B, K]; made over all processes' rows and the memory once it is full."""
        weights = torch.ones(len(embeddings), device=embeddings.device)
        if views.done >= self.config.memory_start:
            embeddings = torch.cat((embeddings, memory.rows))
            full = (memory.ids >= 0).all().to(weights.dtype)
            weights = torch.cat((weights, full.expand(len(memory.rows))))
        logits = self.prototypes(embeddings)
        codes = sinkhorn(logits, self.config.epsilon, self.config.iterations, weights=weights)
        batch = len(views.ids)
        return codes[distributed.rank() * batch :][:batch]

    def after_step(self) -> None:
        """Remember the embeddings of both views."""
        assert self._seen is not None
        z1, z2, ids = self._seen
        self.first_memory.add(z1, ids)
        self.second_memory.add(z2, ids)
        self._seen = None
