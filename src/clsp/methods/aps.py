"""APS: views of a transformer that see few patches, and rarely the same places. Shen et al., arXiv 2306.02854.

Of the first view the encoder sees a random n of its patches, n = ratio * all; of the second view n patches that are
drawn without replacement with odds r^gamma, where r is the fraction of a patch that no chosen patch of the first view
shows. Positives then share what the image means, not its pixels. z = g(f(chosen patches)), p = h(z);
L = CE(n(p1) n(sg z2)^T / tau, diagonal) + CE(n(p2) n(sg z1)^T / tau, diagonal). There is no momentum network; the other
images' projections are the only negatives. The official code takes four steps with every batch that it loads, on
disjoint subsets of the first view's patches; here every step has a batch of its own, and one subset. Features are those
of all patches: only the training leaves some out.

The additional positive is drawn patch by patch as the second view is, away from what the first view shows: a candidate
may have kept its anchor's layout, and as a third real view it is the same image, so that the two would else be told
from shared places again. It predicts the anchor as the second view does: lambda * mean(2 - 2 cos(p3, sg z1)). In this
method no loss compares two projections or two predictions, and the target is the real image, never the synthetic one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clsp.encoders.heads import Heads, HeadShape, projector
from clsp.encoders.tokens import encode_patches, require_vit
from clsp.images.patches import draw_patches, free_shares, log_weights
from clsp.methods.base import Method, Output, Views, embed
from clsp.objectives.paired_nce import paired_nce
from clsp.settings import NonNegative, Positive, settings
from clsp.settings.types import PositiveFraction


@settings
class APSSettings:
    """APS, asymmetric patch sampling (arXiv 2306.02854), for vision transformers."""

    temperature: Positive = 0.1
    """tau of InfoNCE."""
    ratio: PositiveFraction = 0.25
    """Fraction of a view's patches that the encoder sees in training."""
    power: NonNegative = 3.0
    """gamma: how much the other views avoid what the first view's patches show; 0: not at all."""


class APS(Method):
    """Encoder f, a vision transformer, projector g and predictor h."""

    Settings = APSSettings
    settings: APSSettings
    # The paper's layers have no biases; before BatchNorm a bias does nothing.
    head: ClassVar[HeadShape] = HeadShape(layers=3, batch_norm=True, last_norm="plain")
    patches: ClassVar[bool] = True

    def __init__(self, encoder: nn.Module, heads: Heads, settings: Any, *, seed: int) -> None:
        super().__init__(require_vit(encoder), heads, settings, seed=seed)
        prediction = replace(heads.projector, hidden=heads.predictor.hidden)
        self.predictor = projector(heads.projector.dim, prediction, self.head)

    def forward(self, views: Views) -> Output:
        """Each view predicts the other; no gradient reaches what is predicted."""
        z1, z2, z3 = embed(self._project, views, self.batch_norm, self.chosen(views))
        p1, p2 = self.predictor(z1), self.predictor(z2)
        tau = self.settings.temperature
        loss = paired_nce(p1, z2.detach(), tau, **views.masks) + paired_nce(p2, z1.detach(), tau, **views.masks)
        return Output({"aps": loss}, z1, z2, None if z3 is None else (z1.detach(), self.predictor(z3)))

    def _project(self, images: Tensor, patches: Tensor) -> Tensor:
        projected: Tensor = self.network.projector(encode_patches(self.network.encoder, images, patches))
        return projected

    def chosen(self, views: Views) -> list[Tensor]:
        """Choose the patches of every view, int64 [B, n] each: a function of seed, step, image and view."""
        assert views.crops is not None
        grid = self.network.encoder.patch_embed.grid_size
        cells = grid[0] * grid[1]
        count = max(1, round(self.settings.ratio * cells))

        def draw(weights: Tensor, view: int) -> Tensor:
            return draw_patches(weights, count, seed=self.seed, step=views.step, ids=views.ids, view=view)

        first, *others = views.crops
        chosen = draw(torch.zeros(len(views.ids), cells, device=views.ids.device), 0)
        free = [free_shares(chosen, first, other, grid) for other in others]
        return [chosen, *(draw(log_weights(r, self.settings.power), view) for view, r in enumerate(free, start=1))]

    def networks(self) -> list[nn.Module]:
        """The encoder's blocks: its own forward pass, with all patches, is not that of the training."""
        return [self.network.encoder.blocks]
