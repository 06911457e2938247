"""How far a set of images lies from another, as an encoder sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clsp.encoders.features import encode_by


def distance_seen_by(
    folder: Path, images: np.ndarray, real: np.ndarray, *, device: torch.device | str = "cpu"
) -> float:
    """Return the kernel distance of ``images`` to ``real`` ones on the features of the encoder in ``folder``.

    Features are standardised by those of the real images, so that the scale of an encoder's features plays no part.

    Args:
        folder: an encoder's folder.
        images: uint8 [N, C, H, W], N at least 2.
        real: likewise, uint8 [M, C, H, W].
        device: where the encoder works.
    """
    seen, known = (features.double() for features in encode_by(folder, (images, real), device=device))
    center, scale = known.mean(dim=0), known.std(dim=0).clamp(min=1e-6)
    return kid((seen - center) / scale, (known - center) / scale)


def kid(first: Tensor, second: Tensor) -> float:
    """Return the kernel distance of two sets of features (Binkowski et al., arXiv 1801.01401, section 4).

    The unbiased squared maximum mean discrepancy with the kernel (x . y / D + 1)^3: about 0 for two samples of the same
    images, and a little below where chance has it.

    Args:
        first: features, float [N, D], N at least 2.
        second: likewise, float [M, D].
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1.0) ** 3

    def within(a: Tensor) -> Tensor:
        own = kernel(a, a)
        return (own.sum() - own.diagonal().sum()) / (len(a) * (len(a) - 1))

    first, second = first.double(), second.double()
    return float(within(first) + within(second) - 2.0 * kernel(first, second).mean())
