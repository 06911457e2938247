"""CLIP's loss, where a part of the batch has soft targets from the model itself (Andonian et al., arXiv 2204.04588)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import distributed
from clsp.objectives.precision import full_precision


@full_precision
def progressive_clip(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    *,
    soft: Tensor | None = None,
    sharpness: float = 1.0,
    swapped: bool = False,
    smoothing: float = 0.0,
) -> Tensor:
    """Contrast images and texts, both ways; the rows that are ``soft`` learn what the model itself says of them.

    With unit embeddings v and t the logits are S = scale v t^T. A hard row's target is its own text (image). A soft
    row's is softmax(sharpness S) of the same embeddings without gradient, or, ``swapped``, what the other way says: the
    rows of softmax(sharpness S^T). Loss: the mean cross entropy of both ways. Without soft rows it is
    CLIP's, to the bit. The paper's partition, ramp and targets are known from its abstract and second hand: they are
    options here.

    Args:
        images: v, float [B, D], not necessarily normalised.
        texts: t, float [B, D], in the same order.
        scale: 1 / tau, a scalar; the gradient reaches it.
        soft: which rows of the batch have soft targets, bool [B]; None: none.
        sharpness: times the scale, of the targets.
        swapped: whether each way learns what the other one says.
        smoothing: fraction of a hard row's target that is shared out among all.

    Returns:
        A scalar.
    """
    v, t = F.normalize(images, dim=1), F.normalize(texts, dim=1)
    every_v, every_t = distributed.gather(v), distributed.gather(t)
    rows = distributed.rows(len(v), v.device)
    to_texts, to_images = scale * v @ every_t.T, scale * t @ every_v.T
    hard = [F.cross_entropy(way, rows, reduction="none", label_smoothing=smoothing) for way in (to_texts, to_images)]
    if soft is None:
        return 0.5 * (hard[0].mean() + hard[1].mean())
    taught = [(sharpness * way.detach()).softmax(dim=1) for way in (to_texts, to_images)]
    targets = taught[::-1] if swapped else taught
    ways = zip(targets, (to_texts, to_images), hard, strict=True)
    losses = [torch.where(soft, -(target * way.log_softmax(dim=1)).sum(dim=1), own) for target, way, own in ways]
    return 0.5 * (losses[0].mean() + losses[1].mean())
