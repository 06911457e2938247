"""Positives that synthetic ones are measured against: other images, chosen with more or less knowledge, and noise.

Each answers one question about the bank. Noise: does it matter *how* a candidate differs from its anchor, or only how
much? Random: does any image do (the lower bound)? Nearest: would real neighbours do? Class: what would
candidates bring that always keep the class (the upper bound, it sees labels)?
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clsp import randomness
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.positives.bank import PositiveBank

_SAMPLE = 1000
"""Anchors on which the strength of the noise is set."""


class Noised:
    """The anchor with Gaussian noise, as far from it in pixels as the candidates of a bank are.

    Args:
        strength: standard deviation for pixels in [0, 1], see `matching_noise`.
        ids: dataset indices of the images trained on, int64 [N].
        seed: names the noise.
    """

    def __init__(self, strength: float, ids: np.ndarray, *, seed: int) -> None:
        self.strength, self._ids, self._seed = strength, torch.from_numpy(ids), seed

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Tensor:
        """Return the anchors with noise."""
        self._ids = self._ids.to(positions.device)
        noise = randomness.normal(self._seed, "pixel noise", (step, self._ids[positions]), anchors.shape[1:])
        return (add_noise(anchors.float() / 255.0, noise, self.strength) * 255.0).round().to(torch.uint8)


class OtherImage:
    """Any other image, drawn uniformly: the lower bound.

    Args:
        pixels: the images trained on.
        seed: names the choices.
    """

    def __init__(self, pixels: Pixels, *, seed: int) -> None:
        self._pixels, self._seed = pixels, seed

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Tensor:
        """Return another image for each anchor."""
        count = len(self._pixels)
        shift = randomness.integers(self._seed, "other image", (step, positions), count - 1)[:, 0]
        return self._pixels[(positions + 1 + shift) % count]


class OneOf:
    """One image of a list of places that each anchor has, drawn uniformly at every visit.

    Args:
        pixels: the images trained on.
        flat: places of all lists, one after another, int64 [M].
        firsts: where each anchor's list begins, int64 [N].
        counts: its length, at least 1, int64 [N].
        seed: names the choices.
    """

    def __init__(self, pixels: Pixels, flat: Tensor, firsts: Tensor, counts: Tensor, *, seed: int) -> None:
        self._pixels, self._seed = pixels, seed
        self._flat, self._firsts, self._counts = flat, firsts, counts

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Tensor:
        """Return an image of each anchor's list."""
        where = positions.cpu()
        words = randomness.bits(self._seed, "one of", (step, where), 1)[:, 0]
        chosen = (words * self._counts[where]) >> 32
        return self._pixels[self._flat[self._firsts[where] + chosen].to(positions.device)]


def same_class(pixels: Pixels, labels: np.ndarray | None, *, seed: int) -> OneOf:
    """Return the source that draws an image of the anchor's label; an image without a label draws itself.

    Args:
        pixels: the images trained on.
        labels: their labels, int64 [N], -1 where there is none.
        seed: names the choices.

    Raises:
        UserError: the data have no labels.
    """
    if labels is None:
        raise UserError("positives 'class' need labels, and this source has none")
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    flat = np.concatenate((np.argsort(class_of, kind="stable"), np.arange(len(labels))))
    firsts = np.where(labels >= 0, (np.cumsum(sizes) - sizes)[class_of], len(labels) + np.arange(len(labels)))
    counts = np.where(labels >= 0, sizes[class_of], 1)
    return OneOf(pixels, torch.from_numpy(flat), torch.from_numpy(firsts), torch.from_numpy(counts), seed=seed)


def nearest_images(pixels: Pixels, neighbours: int, *, seed: int) -> OneOf:
    """Return the source that draws one of the ``neighbours`` nearest other images, by the cosine of their pixels.

    Pixels, because a positive of this kind must be known before there is an encoder: NNCLR is what searches by
    embedding.
    """
    count = len(pixels)
    k = min(neighbours, count - 1)
    flat = pixels[torch.arange(count)].flatten(1).float()
    flat = torch.nn.functional.normalize(flat - flat.mean(dim=0), dim=1)
    found = []
    for first in range(0, count, 1024):
        rows = torch.arange(first, min(first + 1024, count), device=flat.device)
        similarity = flat[rows] @ flat.T
        similarity[torch.arange(len(rows)), rows] = -torch.inf
        found.append(similarity.topk(k, dim=1).indices.cpu())
    firsts = torch.arange(count) * k
    return OneOf(pixels, torch.cat(found).flatten(), firsts, torch.full((count,), k), seed=seed)


def add_noise(images: Tensor, noise: Tensor, strength: float) -> Tensor:
    """Add ``strength`` times standard normal ``noise`` to images [B, C, H, W] in [0, 1], cut off at the ends."""
    return (images + strength * noise).clamp(0.0, 1.0)


def matching_noise(images: np.ndarray, bank: PositiveBank, ids: np.ndarray) -> float:
    """Find the noise whose mean squared pixel distance to the anchors is that of the bank's candidates.

    Args:
        images: all train images, uint8 [N, C, H, W], by dataset index.
        bank: the bank.
        ids: dataset indices of the images trained on.

    Returns:
        A standard deviation for pixels in [0, 1], at most 2.
    """
    some = ids[:: max(len(ids) // _SAMPLE, 1)]
    anchors = torch.from_numpy(np.ascontiguousarray(images[some])).float() / 255.0
    candidates = torch.from_numpy(bank.array(bank.rows(some))).float() / 255.0
    wanted = float((candidates - anchors[:, None]).square().mean())
    noise = randomness.normal(0, "matching noise", (torch.from_numpy(some),), anchors.shape[1:])
    low, high = 0.0, 2.0
    for _ in range(20):
        middle = (low + high) / 2
        distance = float((add_noise(anchors, noise, middle) - anchors).square().mean())
        low, high = (middle, high) if distance < wanted else (low, middle)
    return round(high, 4)
