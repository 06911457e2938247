"""Mixtures of two anchors, each pulled to both by their weights.

BSIM (Chu, Zhan and Wei, arXiv 2011.13356) makes a mixture of two images a positive of both, apportioned by the mixing
ratio. Its equations and code could not be read; these are i-Mix's (Lee et al., arXiv 2010.08887): in pixels
x = l x_i + (1 - l) x_j, the loss l L(x, i) + (1 - l) L(x, j), l ~ U(0, 1), which is Beta(1, 1). Blends, not pasted
boxes: they keep their ratio in the crops that follow.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from clsp import randomness
from clsp.positives.source import Draw, Material, Positive, Source
from clsp.settings import settings


@settings
class Mixture(Source):
    """A blend with another anchor of the batch, and a positive of both by their weights."""

    one_anchor: ClassVar[bool] = False
    weighted: ClassVar[bool] = True

    def build(self, material: Material, *, seed: int, device: torch.device) -> Draw:
        """Return what blends."""
        return Blend(material.ids, seed=seed, device=device)


class Blend:
    """The anchor blended with its neighbour in the batch: the first with the second, the third with the fourth, ...

    Batches are shuffled, so a neighbour is any image; and one process makes the pairs that two make, as long as each
    holds an even number of anchors. The last of an odd number is blended with itself.

    Args:
        ids: dataset indices of the images trained on, int64 [N].
        seed: names the ratios.
        device: where the anchors are.
    """

    def __init__(self, ids: np.ndarray, *, seed: int, device: torch.device) -> None:
        self._ids, self._seed = torch.from_numpy(ids).to(device), seed

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return a mixture for each anchor, whose weight is the anchor's fraction of it."""
        places = torch.arange(len(anchors), device=anchors.device)
        mates = torch.where(places ^ 1 < len(anchors), places ^ 1, places)
        weights = randomness.uniform(self._seed, "mixture", (step, self._ids[positions]), 1)[:, 0]
        weight = weights.view(-1, 1, 1, 1)
        mixed = weight * anchors.float() + (1.0 - weight) * anchors[mates].float()
        return Positive(mixed.round().to(torch.uint8), weights=weights, mates=mates)
