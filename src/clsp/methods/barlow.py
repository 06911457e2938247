"""Barlow Twins: the features of two views correlate one by one and not across. Zbontar et al., arXiv 2103.03230.

z = g(f(x)); L = scale * [sum_i (C_ii - 1)^2 + lambda_bt sum_{i != j} C_ij^2], C the correlation of z1 and z2 over the
batch. No negatives, no target network.

The additional positive adds lambda * mean(2 - 2 cos(z1, z3)) between projections, as in CLSP-SimCLR.
"""

from __future__ import annotations

from typing import ClassVar

from clsp.encoders.heads import HeadShape
from clsp.methods.base import Method, Output, Views, pair
from clsp.objectives.redundancy import barlow_twins
from clsp.settings import NonNegative, Positive, settings


@settings
class BarlowSettings:
    """Barlow Twins (arXiv 2103.03230)."""

    redundancy_weight: NonNegative = 0.0051
    """The paper's lambda, the weight of the correlations that should vanish."""
    scale: Positive = 0.1
    """Factor of the loss: solo-learn's for small images; the paper's code has 1."""


class Barlow(Method):
    """Encoder f and projector g."""

    Settings = BarlowSettings
    settings: BarlowSettings
    head: ClassVar[HeadShape] = HeadShape(layers=3, batch_norm=True)
    weighs_pairs: ClassVar[bool] = False

    def forward(self, views: Views) -> Output:
        """Correlate the two views' features."""
        z1, z2, z3 = self.embed(views)
        loss = self.settings.scale * barlow_twins(z1, z2, self.settings.redundancy_weight)
        return Output({"barlow": loss}, z1, z2, pair(z1, z3))
