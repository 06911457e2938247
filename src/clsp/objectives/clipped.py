"""NT-Xent without the negatives that look like positives: they may show the same thing (TransClippedCLR)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp.objectives.base import weighted_mean
from clsp.objectives.nt_xent import compared
from clsp.objectives.precision import full_precision


@full_precision
def clipped_nt_xent(
    z1: Tensor,
    z2: Tensor,
    temperature: float,
    *,
    count: int = 0,
    threshold: float | None = None,
    weights: Tensor | None = None,
    ignore: Tensor | None = None,
) -> Tensor:
    """NT-Xent whose denominators leave out the most similar negatives, after Dubey et al. (arXiv 2401.15362).

    The paper's own rule was not to be had. Here each view leaves out its ``count`` most similar negatives, and all
    whose cosine is above ``threshold``; the choice carries no gradient. With neither it is `nt_xent`.

    Args:
        z1: embeddings of the first views, float [B, D], not necessarily normalised.
        z2: embeddings of the second views, float [B, D], in the same order.
        temperature: tau > 0.
        count: negatives that each view leaves out.
        threshold: cosine above which a negative is left out; None: none is for that.
        weights: a weight for each pair, float [B], not normalised (1 = unweighted).
        ignore: bool [B, G], True where image j is no negative of image i; G is the global batch.

    Returns:
        A scalar; gradients reach both views, on all processes.
    """
    logits, partner, hidden = compared(z1, z2, temperature, ignore)
    clipped = hidden | _alike(logits.detach(), partner, hidden, temperature, count, threshold)
    losses = F.cross_entropy(logits.masked_fill(clipped, -torch.inf), partner, reduction="none")
    return weighted_mean(losses, None if weights is None else weights.repeat(2))


def _alike(
    logits: Tensor, partner: Tensor, hidden: Tensor, temperature: float, count: int, threshold: float | None
) -> Tensor:
    """Mark the negatives that are left out, bool [2B, 2G]."""
    negatives = logits.masked_fill(hidden.scatter(1, partner[:, None], True), -torch.inf)
    clipped = torch.zeros_like(hidden)
    if count:
        clipped.scatter_(1, negatives.topk(min(count, negatives.shape[1]), dim=1).indices, True)
    if threshold is not None:
        clipped |= negatives > threshold / temperature
    return clipped & negatives.isfinite()
