"""Outliers: images that lie far from all others in the embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

_FENCE = 3.0
"""Interquartile ranges above the upper quartile from where on an image stands out: Tukey's outer fence."""

RULE = (
    "An image's distance is 1 minus the mean cosine to its {count} nearest others (Ramaswamy et al., SIGMOD 2000, with "
    f"the mean). It stands out where that is more than {_FENCE:g} interquartile ranges above the upper quartile."
)
"""What counts as an outlier."""


@dataclass(frozen=True)
class Outliers:
    """All images by their distance from the others."""

    places: np.ndarray
    """int64 [N], the farthest first."""
    distance: np.ndarray
    """Mean of 1 - cosine to the nearest others, float32 [N], in that order."""
    median: float
    """The usual distance."""
    line: float
    """Above this distance an image stands out."""

    @property
    def count(self) -> int:
        """Number of those that stand out; they are the first."""
        return int((self.distance > self.line).sum())


def find_outliers(similar: Tensor) -> Outliers:
    """Order images by how far their nearest others are, float [N, K] the cosines of each image and those."""
    distance = (1.0 - similar.mean(dim=1)).clamp_min(0.0).numpy()
    order = np.argsort(-distance, kind="stable")
    lower, median, upper = (float(value) for value in np.quantile(distance, [0.25, 0.5, 0.75]))
    return Outliers(order, distance[order], median, upper + _FENCE * (upper - lower))
