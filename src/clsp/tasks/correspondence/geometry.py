"""Patches cut out of images, turned and mirrored, and where each of their points lies in the image.

Coordinates are torch's (``align_corners=False``): x and y from -1, the left and upper border, to 1, the right and lower
one. A cell of a map stands for its centre, so nothing is shifted by half a cell.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def centres(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """The centres of a map's cells, row by row: (x, y), float [height * width, 2]."""
    down, across = ((torch.arange(side, device=device) * 2.0 + 1.0) / side - 1.0 for side in (height, width))
    y, x = torch.meshgrid(down, across, indexing="ij")
    return torch.stack((x, y), dim=2).flatten(0, 1)


def patch_maps(centre: Tensor, side: float, angle: Tensor, flip: Tensor) -> Tensor:
    """Affine maps from the coordinates of patches to those of their images.

    Args:
        centre: (x, y) of each patch in its image, float [B, 2].
        side: of the patches, as a fraction of the images'.
        angle: by which each is turned, in radians, float [B].
        flip: whether each is mirrored left to right, before it is turned, bool [B].

    Returns:
        float [B, 2, 3], for `apply` and `torch.nn.functional.affine_grid`.
    """
    cos, sin, sign = angle.cos() * side, angle.sin() * side, torch.where(flip, -1.0, 1.0)
    rows = (torch.stack((sign * cos, -sin, centre[:, 0]), dim=1), torch.stack((sign * sin, cos, centre[:, 1]), dim=1))
    return torch.stack(rows, dim=1)


def apply(maps: Tensor, points: Tensor) -> Tensor:
    """Map points (x, y), float [P, 2] or [B, P, 2], by affine maps [B, 2, 3]: float [B, P, 2]."""
    moved: Tensor = points @ maps[:, :, :2].transpose(1, 2) + maps[:, None, :, 2]
    return moved


def cut(images: Tensor, maps: Tensor, size: int) -> Tensor:
    """Cut patches of ``size`` pixels out of images [B, C, H, W]; outside an image its border is repeated."""
    grid = F.affine_grid(maps.to(images.dtype), [len(images), images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def draw_maps(draws: Tensor, attention: Tensor, side: float, most_degrees: float) -> Tensor:
    """Draw a patch of each image: where attention is highest, turned by some degrees, mirrored in half of the cases.

    Args:
        draws: uniform numbers, float [B, 2].
        attention: of each image, float [B, h, w].
        side: of the patches, as a fraction of the images'.
        most_degrees: by which a patch is turned at most, either way.

    Returns:
        float [B, 2, 3]; the unturned patch lies inside its image.
    """
    place = centres(attention.shape[1], attention.shape[2], attention.device)[attention.flatten(1).argmax(dim=1)]
    angle = (2.0 * draws[:, 0] - 1.0) * math.radians(most_degrees)
    return patch_maps(place.clamp(side - 1.0, 1.0 - side), side, angle, draws[:, 1] < 0.5)


def attention_of(features: Tensor) -> Tensor:
    """How much each place of a feature map resembles the whole image: cosines with the mean, float [B, h, w].

    Args:
        features: float [B, C, h, w]; no gradient flows.
    """
    features = features.detach()
    return F.cosine_similarity(features, features.mean(dim=(2, 3), keepdim=True), dim=1)
