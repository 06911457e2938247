"""The common stability mechanism by itself: agree, and keep the centre small. Jha et al., arXiv 2402.14957.

L = 1/2 [-cos(z1, z2) + lambda |s|^2] with the centre s, the mean embedding of the batch. It is here to be studied: with
lambda 0 it collapses, and what keeps other methods from that can be set beside it.
"""

from __future__ import annotations

from typing import ClassVar

from clsp.encoders.heads import HeadShape
from clsp.methods.base import Method, Output, Views, pair
from clsp.objectives.simple import simple
from clsp.settings import NonNegative, settings


@settings
class SimpleSettings:
    """The simple objective of the common stability mechanism (arXiv 2402.14957)."""

    center_weight: NonNegative = 1.0
    """The paper's lambda, the weight of the centre's squared length; its value was not to be had, so 1 is a choice."""


class Simple(Method):
    """Encoder f and projector g."""

    Settings = SimpleSettings
    settings: SimpleSettings
    head: ClassVar[HeadShape] = HeadShape(batch_norm=True)
    weighs_pairs: ClassVar[bool] = False

    def forward(self, views: Views) -> Output:
        """The two views agree, and all images together have no common direction."""
        z1, z2, z3 = self.embed(views)
        loss = simple(z1, z2, self.settings.center_weight)
        return Output({"simple": loss}, z1, z2, pair(z1, z3))
