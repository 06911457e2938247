"""SupCon: all images of the same label attract. Khosla et al., arXiv 2004.11362. It sees the labels: an upper bound.

z = g(f(x)); L = L_out(z1, z2, labels); an image without a label has its own other view as its positive alone. The
additional positive adds lambda * mean(2 - 2 cos(z1, z3)), as in SimCLR.
"""

from __future__ import annotations

from typing import ClassVar

from clsp.errors import UserError
from clsp.methods.base import Method, Output, Views, pair
from clsp.objectives.sup_con import sup_con
from clsp.settings import Positive, settings


@settings
class SupConSettings:
    """SupCon, the upper bound that sees the labels (arXiv 2004.11362, L_out)."""

    temperature: Positive = 0.1
    """tau of the loss."""


class SupCon(Method):
    """Encoder f and projector g."""

    Settings = SupConSettings
    settings: SupConSettings
    sees_labels: ClassVar[bool] = True

    def forward(self, views: Views) -> Output:
        """Contrast labels instead of images.

        Raises:
            UserError: the batch has no labels.
        """
        if views.labels is None:
            raise UserError("method supcon needs labels, and there are none; use simclr")
        z1, z2, z3 = self.embed(views)
        return Output(
            {"sup_con": sup_con(z1, z2, views.labels, self.settings.temperature, **views.masks)}, z1, z2, pair(z1, z3)
        )
