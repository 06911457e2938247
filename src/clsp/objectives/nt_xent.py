"""NT-Xent: InfoNCE of two views against all other views of the batch (SimCLR)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import distributed
from clsp.objectives.base import Objective, weighted_mean
from clsp.objectives.precision import full_precision
from clsp.settings import Positive, settings


@full_precision
def nt_xent(
    z1: Tensor,
    z2: Tensor,
    temperature: float,
    *,
    weights: Tensor | None = None,
    ignore: Tensor | None = None,
) -> Tensor:
    """NT-Xent, Chen et al. (arXiv 2002.05709), equation 1, as the mean over all 2B anchors.

    l_i = -s_{i,p(i)} + log sum_{j != i} exp(s_ij), with s = <z_i, z_j> / temperature over unit vectors; the sum
    runs over the 2G - 1 other views of the global batch. (Google's code returns the sum of the two halves, twice this.)

    Args:
        z1: embeddings of the first views, float [B, D], not necessarily normalised.
        z2: embeddings of the second views, float [B, D], in the same order.
        temperature: tau > 0.
        weights: a weight for each pair, float [B], not normalised (1 = unweighted).
        ignore: bool [B, G], True where image j is no negative of image i; G is the global batch.

    Returns:
        A scalar; gradients reach both views, on all processes.
    """
    logits, partner, hidden = compared(z1, z2, temperature, ignore)
    losses = F.cross_entropy(logits.masked_fill(hidden, -torch.inf), partner, reduction="none")
    return weighted_mean(losses, None if weights is None else weights.repeat(2))


def compared(z1: Tensor, z2: Tensor, temperature: float, ignore: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Compare each view with all views of the global batch.

    Args:
        z1: see `nt_xent`.
        z2: likewise.
        temperature: likewise.
        ignore: likewise.

    Returns:
        Logits float [2B, 2G]; the place of each view's partner, int64 [2B]; and what is no negative, bool [2B, 2G]: the
        view itself, and what ``ignore`` says.
    """
    z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    everything = torch.cat((distributed.gather(z1), distributed.gather(z2)))
    batch, total = len(z1), len(everything) // 2
    rows = distributed.rows(batch, z1.device)
    logits = torch.cat((z1, z2)) @ everything.T / temperature
    hidden = F.one_hot(torch.cat((rows, rows + total)), 2 * total).bool()
    partner = torch.cat((rows + total, rows))
    if ignore is not None:
        hidden = hidden | (ignore.repeat(2, 2) & ~F.one_hot(partner, 2 * total).bool())
    return logits, partner, hidden


@settings
class NTXent(Objective):
    """NT-Xent of anchor and positive, which the other images of the batch repel."""

    temperature: Positive = 0.2
    """tau of the pull."""
    negatives: ClassVar[bool] = True

    def __call__(
        self, anchors: Tensor, positives: Tensor, *, weights: Tensor | None = None, ignore: Tensor | None = None
    ) -> Tensor:
        """Compute `nt_xent`."""
        return nt_xent(anchors, positives, self.temperature, weights=weights, ignore=ignore)
