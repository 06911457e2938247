"""VICReg: views agree while every feature varies and no two vary together. Bardes et al., arXiv 2105.04906.

z = g(f(x)); L = invariance * MSE(z1, z2) + variance * V + covariance * C. No normalisation, no negatives, no target
network.

The additional positive adds lambda * mean(2 - 2 cos(z1, z3)) between projections, as in CLSP-SimCLR.
"""

from __future__ import annotations

from typing import ClassVar

from clsp.encoders.heads import HeadShape
from clsp.methods.base import Method, Output, Views, pair
from clsp.objectives.redundancy import vicreg
from clsp.settings import NonNegative, settings


@settings
class VICRegSettings:
    """VICReg (arXiv 2105.04906), with the paper's weights."""

    invariance: NonNegative = 25.0
    """Weight of the squared distance of the views."""
    variance: NonNegative = 25.0
    """Weight of the variance term, the mean over the two views (in solo-learn the sum: 25 there is 50 here)."""
    covariance: NonNegative = 1.0
    """Weight of the covariance term."""


class VICReg(Method):
    """Encoder f and projector g."""

    Settings = VICRegSettings
    settings: VICRegSettings
    head: ClassVar[HeadShape] = HeadShape(layers=3, batch_norm=True)
    weighs_pairs: ClassVar[bool] = False

    def forward(self, views: Views) -> Output:
        """Compute the three terms."""
        z1, z2, z3 = self.embed(views)
        invariance, variance, covariance = vicreg(z1, z2)
        terms = {
            "invariance": self.settings.invariance * invariance,
            "variance": self.settings.variance * variance,
            "covariance": self.settings.covariance * covariance,
        }
        return Output(terms, z1, z2, pair(z1, z3))
