"""Whether images look like the data, told by plain statistics alone: no labels, no network.

An image of noise has a brightness like any other, but its pixels do not go with their neighbours'. Each statistic is
held against the range that it has in real images; an image is strange where one of them is outside.
"""

from __future__ import annotations

import numpy as np

CENTRAL = 0.99
"""Fraction of the real images that a statistic's range holds."""

_FLAT = 1.0 / 255.0
"""Contrast below which an image is of one colour."""


def statistics(images: np.ndarray) -> np.ndarray:
    """Describe uint8 images [N, C, H, W]: float64 [N, S].

    Brightness; contrast (deviation of the pixels); roughness (mean difference of neighbours over the contrast);
    evenness of the differences (median over mean: near 1 in noise, near 0 where areas meet at edges). Where there are
    colours also their saturation, its deviation, and the roughness of the colour apart from the brightness.
    """
    x = images.astype(np.float32) / 255.0
    gray = x.mean(axis=1)
    contrast = x.reshape(len(x), -1).std(axis=1)
    steps = _differences(x)
    mean = steps.mean(axis=1)
    found = [
        gray.mean(axis=(1, 2)),
        contrast,
        mean / np.maximum(contrast, _FLAT),
        np.median(steps, axis=1) / np.maximum(mean, _FLAT),
    ]
    if x.shape[1] > 1:
        saturation = x.max(axis=1) - x.min(axis=1)
        found += [saturation.mean(axis=(1, 2)), saturation.std(axis=(1, 2))]
        found += [_differences(x - gray[:, None]).mean(axis=1)]
    return np.stack(found, axis=1).astype(np.float64)


def strange(images: np.ndarray, real: np.ndarray) -> float:
    """The fraction of ``images`` of which a statistic lies outside its range in ``real``; both uint8 [N, C, H, W]."""
    return _outside(statistics(images), statistics(real))


def strange_real(real: np.ndarray) -> float:
    """The same fraction of real images, each half held against the other: what cannot be expected to be less."""
    found = statistics(real)
    halves = found[::2], found[1::2]
    if not len(halves[1]):
        return 0.0
    return (_outside(halves[0], halves[1]) + _outside(halves[1], halves[0])) / 2


def untypical(images: np.ndarray, real: np.ndarray) -> float:
    """How far out the images lie as a whole: 0 where each median is the real images', 1 where it is beyond them all.

    Where real images differ much among each other, noise hides within their range, image by image; yet the median of
    many noisy images lies at its edge. Of all statistics the one that is farthest out counts.
    """
    median, others = np.median(statistics(images), axis=0), statistics(real)
    rank = (others < median).mean(axis=0) + 0.5 * (others == median).mean(axis=0)
    return float(np.abs(2 * rank - 1).max())


def cut_off(images: np.ndarray) -> float:
    """The fraction of the values of uint8 images that are black or white to the limit."""
    return float(((images == 0) | (images == 255)).mean())


def _differences(x: np.ndarray) -> np.ndarray:
    """Absolute differences of neighbouring pixels: [N, C, H, W] to [N, D]."""
    down, across = np.abs(np.diff(x, axis=2)), np.abs(np.diff(x, axis=3))
    return np.concatenate((down.reshape(len(x), -1), across.reshape(len(x), -1)), axis=1)


def _outside(found: np.ndarray, real: np.ndarray) -> float:
    low, high = np.quantile(real, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2], axis=0)
    rounding = 1e-6
    return float(((found < low - rounding) | (found > high + rounding)).any(axis=1).mean())
