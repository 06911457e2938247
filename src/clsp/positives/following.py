"""Whether candidates follow their anchors: how often one is more like its own anchor than like a random real image.

The fraction needs no scale: 0.5 is chance and 1 is always. Coarse pixels with their colours describe an image. The
diffusion model's own features are no judge: candidates are drawn by them. Of candidates of photographs that had lost
their anchors they told 0.77, where coarse pixels told 0.58 and an encoder 0.67 (studies/draws).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clsp.engine.pixels import coarse

_SIDE = 8
"""Side to which images are reduced for their description by pixels."""


def coarse_pixels(images: np.ndarray) -> Tensor:
    """Describe uint8 images [N, C, H, W] by their means over 8 x 8 fields, with colour: float32 [N, C * 64]."""
    return coarse(torch.from_numpy(np.array(images)).float() / 255.0, _SIDE)


def following(candidates: Tensor, anchors: Tensor, real: Tensor) -> float:
    """How often a candidate lies nearer to its anchor than to a random real image; ties count half.

    Args:
        candidates: descriptions of k candidates of N anchors, float [N, k, D].
        anchors: of the anchors, float [N, D].
        real: of real images, float [M, D].
    """
    own = (candidates - anchors[:, None]).norm(dim=2)
    others = torch.cdist(candidates.flatten(0, 1), real, compute_mode="donot_use_mm_for_euclid_dist")
    near, far = own.flatten()[:, None], others
    return float(((near < far).float() + 0.5 * (near == far).float()).mean())
