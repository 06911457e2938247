"""SimSiam: BYOL without a target network; stopping the gradient is enough. Chen and He, arXiv 2011.10566.

z = g(f(x)), p = h(z); L = 1/2 [-cos(p1, sg z2)] + 1/2 [-cos(p2, sg z1)]. The projector has three layers with BatchNorm
to the end, the last without scale and shift; the predictor is narrow and its learning rate does not decay.

The additional positive predicts the anchor: lambda * mean(2 - 2 cos(p3, sg z1)), for the reason given in `byol`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from clsp.encoders.heads import Heads, HeadShape, predictor
from clsp.methods.base import Group, Method, Output, Views
from clsp.objectives.alignment import negative_cosine
from clsp.settings import settings


@settings
class SimSiamSettings:
    """SimSiam (arXiv 2011.10566); the two switches are for studies of what keeps it from collapse."""

    predictor: bool = True
    """With the predictor; without, the views' embeddings are compared as they are."""
    stop_gradient: bool = True
    """No gradient reaches what is predicted."""


class SimSiam(Method):
    """Encoder f, projector g, predictor h."""

    Settings = SimSiamSettings
    settings: SimSiamSettings
    head: ClassVar[HeadShape] = HeadShape(layers=3, batch_norm=True, last_norm="plain")
    takes_neighbours: ClassVar[bool] = True

    def __init__(self, encoder: nn.Module, heads: Heads, settings: Any, *, seed: int) -> None:
        super().__init__(encoder, heads, settings, seed=seed)
        self.predictor = predictor(heads.projector.dim, heads.predictor) if settings.predictor else nn.Identity()

    def forward(self, views: Views) -> Output:
        """Both views predict each other."""
        z1, z2, z3 = self.embed(views)
        p1, p2, weights = self.predictor(z1), self.predictor(z2), views.pair_weights
        t1, t2 = (z1.detach(), z2.detach()) if self.settings.stop_gradient else (z1, z2)
        first = negative_cosine(p1, self.exchanged(t2, views).rows, weights=weights)
        second = negative_cosine(p2, self.exchanged(t1, views).rows, weights=weights)
        together = None if z3 is None else (t1, self.predictor(z3))
        return Output({"simsiam": 0.5 * first + 0.5 * second}, z1, z2, together)

    def groups(self) -> list[Group]:
        """The predictor keeps its learning rate."""
        groups = Group(list(self.network.parameters())), Group(list(self.predictor.parameters()), decays=False)
        return [group for group in groups if group.parameters]
