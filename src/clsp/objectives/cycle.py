"""The way from a patch to another image and back to where it was cut out: Xiao et al. (arXiv 2109.10967)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from clsp.objectives.precision import full_precision


@full_precision
def walk(patch: Tensor, source: Tensor, other: Tensor, temperature: float) -> Tensor:
    """The chance that the way from a place of the patch over the other image ends at a place of the source image.

    A = softmax(p^T o / tau) softmax(o^T s / tau), with features of unit length at every place.

    Args:
        patch: p, float [B, C, P].
        source: s, the image that the patch was cut from, float [B, C, S].
        other: o, another image with the same kind of thing, float [B, C, O].
        temperature: tau > 0.

    Returns:
        float [B, P, S]; rows sum to 1.
    """
    p, s, o = (F.normalize(features, dim=1) for features in (patch, source, other))
    there = (p.transpose(1, 2) @ o / temperature).softmax(dim=2)
    back = (o.transpose(1, 2) @ s / temperature).softmax(dim=2)
    return there @ back


@full_precision
def cycle(patch: Tensor, source: Tensor, other: Tensor, temperature: float, *, places: Tensor, truth: Tensor) -> Tensor:
    """Mean squared distance between where the ways end, on average, and where they should.

    Args:
        patch: see `walk`.
        source: likewise.
        other: likewise.
        temperature: likewise.
        places: coordinates of the source's places, float [S, 2].
        truth: coordinates in the source image of the patch's places, float [B, P, 2]; those outside the image, beyond
            -1 or 1, do not count.

    Returns:
        A scalar, in the coordinates' unit squared; the gradient reaches all three images.
    """
    ends = walk(patch, source, other, temperature) @ places
    inside = (truth.abs() <= 1.0).all(dim=2)
    return ((ends - truth).square().sum(dim=2) * inside).sum() / inside.sum().clamp(min=1)
