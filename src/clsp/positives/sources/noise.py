"""The anchor with noise as strong as the candidates' distance: does any change of that size do what they do?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from clsp import files, randomness
from clsp.positives.bank import PositiveBank
from clsp.positives.source import Draw, Material, Positive, Source, bank_of
from clsp.settings import settings

_SAMPLE = 1000
"""Anchors on which the strength of the noise is set."""


@settings
class Noise(Source):
    """The anchor with noise, as far from it in pixels as the bank's candidates are."""

    needs_bank: ClassVar[bool] = True

    def build(self, material: Material, *, seed: int, device: torch.device) -> Draw:
        """Return what adds noise."""
        strength = matching_noise(material.images, bank_of(material, "noise"), material.ids)
        return Noised(strength, material.ids, seed=seed, device=device)


class Noised:
    """Adds Gaussian noise.

    Args:
        strength: standard deviation for pixels in [0, 1], see `matching_noise`.
        ids: dataset indices of the images trained on, int64 [N].
        seed: names the noise.
        device: where the anchors are.
    """

    def __init__(self, strength: float, ids: np.ndarray, *, seed: int, device: torch.device) -> None:
        self.strength, self._ids, self._seed = strength, torch.from_numpy(ids).to(device), seed

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return the anchors with noise."""
        noise = randomness.normal(self._seed, "pixel noise", (step, self._ids[positions]), anchors.shape[1:])
        noised = add_noise(anchors.float() / 255.0, noise, self.strength)
        return Positive((noised * 255.0).round().to(torch.uint8))


def add_noise(images: Tensor, noise: Tensor, strength: float) -> Tensor:
    """Add ``strength`` times standard normal ``noise`` to images [B, C, H, W] in [0, 1], cut off at the ends."""
    return (images + strength * noise).clamp(0.0, 1.0)


def matching_noise(images: files.Array, bank: PositiveBank, ids: np.ndarray) -> float:
    """Find the noise whose mean squared pixel distance to the anchors is that of the bank's candidates.

    Args:
        images: all train images, uint8 [N, C, H, W], by dataset index.
        bank: the bank.
        ids: dataset indices of the images trained on.

    Returns:
        A standard deviation for pixels in [0, 1], at most 2.
    """
    some = ids[:: -(-len(ids) // _SAMPLE)]
    anchors = torch.from_numpy(files.take(images, some)).float() / 255.0
    candidates = torch.from_numpy(bank.array(bank.rows(some))).float() / 255.0
    wanted = float((candidates - anchors[:, None]).square().mean())
    noise = randomness.normal(0, "matching noise", (torch.from_numpy(some),), anchors.shape[1:])
    low, high = 0.0, 2.0
    for _ in range(20):
        middle = (low + high) / 2
        distance = float((add_noise(anchors, noise, middle) - anchors).square().mean())
        low, high = (middle, high) if distance < wanted else (low, middle)
    return round(high, 4)
