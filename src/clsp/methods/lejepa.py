"""LeJEPA: views agree while their embeddings are spread like a Gaussian. Balestriero and LeCun, arXiv 2511.08544.

z = g(f(x)); L = (1 - lambda) * mean((z_v - c)^2) + lambda * SIGReg(z), where c is the mean of an image's two whole
views, and v goes over these and over its local crops. SIGReg compares the embeddings along random directions, other
ones in each step, with a standard Gaussian. No normalisation, no negatives, no target network, no schedule.

The additional positive adds lambda' * mean(2 - 2 cos(z1, z3)) between projections, as in CLSP-SimCLR; it has no part in
the centre, nor in SIGReg.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import randomness
from clsp.encoders.heads import HeadShape
from clsp.methods.base import Method, Output, Views, embed_local, pair
from clsp.objectives.gaussian import centred, sigreg
from clsp.settings import Count, Fraction, settings


@settings
class LeJEPASettings:
    """LeJEPA (arXiv 2511.08544)."""

    weight: Fraction = 0.05
    """The paper's lambda, the weight of SIGReg; the squared distance of the views has what is left of 1."""
    directions: Count = 256
    """Random directions of a step. The authors' example has 256, lightly 1024."""


class LeJEPA(Method):
    """Encoder f and projector g."""

    Settings = LeJEPASettings
    settings: LeJEPASettings
    head: ClassVar[HeadShape] = HeadShape(layers=3, batch_norm=True)
    multi_crop: ClassVar[bool] = True
    weighs_pairs: ClassVar[bool] = False

    def forward(self, views: Views) -> Output:
        """The views agree, and all images together are a Gaussian."""
        z1, z2, z3 = self.embed(views)
        every = torch.stack((z1, z2, *embed_local(self.network, views, self.batch_norm)))
        weight = self.settings.weight
        terms = {
            "invariance": (1.0 - weight) * centred(every, 2),
            "gaussian": weight * sigreg(every, self._directions(views.step, every)),
        }
        return Output(terms, z1, z2, pair(z1, z3))

    def _directions(self, step: int, like: Tensor) -> Tensor:
        """The step's directions: unit vectors, float32 [D, M], the same in all processes."""
        shape = like.shape[-1], self.settings.directions
        drawn = randomness.normal(self.seed, "directions", (torch.full((1,), step, device=like.device),), shape)[0]
        return F.normalize(drawn, dim=0)
