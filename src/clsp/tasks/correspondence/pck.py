"""PCK: the fraction of key points that are found, within a fraction of the image or of the thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ALPHAS = (0.05, 0.1, 0.15)
"""The usual distances, as fractions of the larger side of the image or of the box around the thing."""


def found(guessed: np.ndarray, truth: np.ndarray, extent: float | np.ndarray, alpha: float) -> np.ndarray:
    """Whether each point is found, bool [P].

    Args:
        guessed: points in pixels, float [P, 2].
        truth: likewise.
        extent: the larger side of the image or of the box, in pixels; one number or one for each point.
        alpha: fraction of it by which a point may be off.
    """
    close: np.ndarray = np.linalg.norm(guessed - truth, axis=1) <= alpha * np.asarray(extent)
    return close


def pck(pairs: Sequence[tuple[np.ndarray, np.ndarray, float]], alphas: Sequence[float] = ALPHAS) -> dict[str, float]:
    """Percent of key points that are found, averaged over pairs of images, as SPair-71k's and PF-PASCAL's is.

    Args:
        pairs: points that were guessed, true ones, and the extent, of each pair; see `found`.
        alphas: distances.

    Returns:
        By ``pck@0.05`` and so on.
    """
    return {f"pck@{alpha:g}": 100 * float(np.mean([found(*pair, alpha).mean() for pair in pairs])) for alpha in alphas}
