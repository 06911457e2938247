"""Positives that synthetic ones are measured against: other images, chosen with more or less knowledge, and noise.

Each answers one question about the bank. Noise: does it matter *how* a candidate differs from its anchor, or only how
much? Random: does any image do (the lower bound)? Nearest: would real neighbours do? Class: what would
candidates bring that always keep the class (the upper bound, it sees labels)?
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clsp import files, randomness
from clsp.engine.neighbours import nearest
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.positives.bank import PositiveBank
from clsp.positives.lists import OneOf
from clsp.positives.sources import Positive

_SAMPLE = 1000
"""Anchors on which the strength of the noise is set."""


class Noised:
    """The anchor with Gaussian noise, as far from it in pixels as the candidates of a bank are.

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


class OtherImage:
    """Any other image, drawn uniformly: the lower bound.

    Args:
        pixels: the images trained on.
        seed: names the choices.
    """

    def __init__(self, pixels: Pixels, *, seed: int) -> None:
        self._pixels, self._seed = pixels, seed

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return another image for each anchor."""
        count = len(self._pixels)
        shift = randomness.integers(self._seed, "other image", (step, positions), count - 1)[:, 0]
        return Positive(self._pixels[(positions + 1 + shift) % count])


def same_class(pixels: Pixels, labels: np.ndarray | None, *, seed: int, device: torch.device) -> OneOf:
    """Return the source that draws an image of the anchor's label; an image without a label draws itself.

    Args:
        pixels: the images trained on.
        labels: their labels, int64 [N], -1 where there is none.
        seed: names the choices.
        device: where the anchors are.

    Raises:
        UserError: the data have no labels.
    """
    if labels is None:
        raise UserError("positives 'class' need labels, and this source has none")
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    flat = np.concatenate((np.argsort(class_of, kind="stable"), np.arange(len(labels))))
    firsts = np.where(labels >= 0, (np.cumsum(sizes) - sizes)[class_of], len(labels) + np.arange(len(labels)))
    counts = np.where(labels >= 0, sizes[class_of], 1)
    lists = (torch.from_numpy(part).to(device) for part in (flat, firsts, counts))
    return OneOf(pixels, *lists, seed=seed)


def nearest_images(pixels: Pixels, neighbours: int, *, seed: int, device: torch.device) -> OneOf:
    """Return the source that draws one of the ``neighbours`` nearest other images, by the cosine of their pixels.

    Pixels, because a positive of this kind must be known before there is an encoder: NNCLR is what searches by
    embedding.

    Args:
        pixels: the images trained on.
        neighbours: nearest images that take turns, at most all others.
        seed: names the choices.
        device: where the anchors are, and where they are compared.
    """
    count = len(pixels)
    k = min(neighbours, count - 1)
    places = torch.arange(count, device=device)
    flat = pixels[places].flatten(1).float()
    flat -= flat.mean(dim=0)
    found = nearest(flat, flat, k + 1)[1]
    # The anchor is among its own neighbours, or so many equal images are that it does not matter which one is left out.
    own = found == places[:, None]
    own[~own.any(dim=1), -1] = True
    return OneOf(pixels, found[~own], places * k, torch.full_like(places, k), seed=seed)


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
    some = ids[:: max(len(ids) // _SAMPLE, 1)]
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
