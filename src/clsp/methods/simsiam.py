"""SimSiam: BYOL without a target network; stopping the gradient is enough. Chen and He, arXiv 2011.10566.

z = g(f(x)), p = h(z); L = 1/2 [-cos(p1, sg z2)] + 1/2 [-cos(p2, sg z1)]. The projector has three layers with BatchNorm
to the end, the last without scale and shift; the predictor is narrow and its learning rate does not decay.

The additional positive predicts the anchor: lambda * mean(2 - 2 cos(p3, sg z1)), for the reason given in `byol`.
"""

from __future__ import annotations

from torch import nn

from clsp.encoders.backbone import feature_count
from clsp.encoders.config import PredictorConfig, ProjectorConfig
from clsp.encoders.heads import HeadShape, predictor, projector
from clsp.methods.base import Group, Losses, Method, Views, embed
from clsp.methods.config import BatchNormMode
from clsp.objectives.alignment import negative_cosine


class SimSiam(Method):
    """Encoder f, projector g, predictor h."""

    def __init__(
        self, encoder: nn.Module, head: ProjectorConfig, prediction: PredictorConfig, *, batch_norm: BatchNormMode
    ) -> None:
        super().__init__()
        self.encoder = encoder
        usual = HeadShape(layers=3, batch_norm=True, last_norm="plain")
        self.projector = projector(feature_count(encoder), head, usual)
        self.predictor = predictor(head.dim, prediction)
        self.batch_norm = batch_norm

    def forward(self, views: Views) -> Losses:
        """Both views predict each other; no gradient reaches what is predicted."""
        z1, z2, z3 = embed(nn.Sequential(self.encoder, self.projector), views, self.batch_norm)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        loss = 0.5 * negative_cosine(p1, z2.detach()) + 0.5 * negative_cosine(p2, z1.detach())
        return Losses({"simsiam": loss}, z1, z2, None if z3 is None else (z1.detach(), self.predictor(z3)))

    def groups(self) -> list[Group]:
        """The predictor keeps its learning rate."""
        trunk = [*self.encoder.parameters(), *self.projector.parameters()]
        return [Group(trunk), Group(list(self.predictor.parameters()), decays=False)]
