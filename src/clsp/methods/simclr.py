"""SimCLR: two views attract, all other images of the batch repel. Chen et al., arXiv 2002.05709.

z = g(f(x)); L = NT-Xent_tau(z1, z2). The additional positive of CLSP-SimCLR adds lambda * mean(2 - 2 cos(z1, z3)):
z3 comes from the same network, is no negative, and stands in no denominator; no gradient is stopped.
"""

from __future__ import annotations

from typing import ClassVar

from clsp.methods.base import Method, Output, Views, pair
from clsp.objectives.nt_xent import nt_xent
from clsp.settings import Positive, settings


@settings
class SimCLRSettings:
    """SimCLR (arXiv 2002.05709)."""

    temperature: Positive = 0.2
    """tau of NT-Xent."""


class SimCLR(Method):
    """Encoder f and projector g, trained with NT-Xent."""

    Settings = SimCLRSettings
    settings: SimCLRSettings
    takes_neighbours: ClassVar[bool] = True

    def forward(self, views: Views) -> Output:
        """NT-Xent of the two views."""
        z1, z2, z3 = self.embed(views)
        other = self.exchanged(z2, views).rows
        loss = nt_xent(z1, other, self.settings.temperature, **views.masks)
        return Output({"nt_xent": loss}, z1, z2, pair(z1, z3))
