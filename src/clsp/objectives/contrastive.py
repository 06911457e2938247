"""InfoNCE in its two forms: against the rest of the batch (SimCLR) and against a memory (MoCo)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import distributed
from clsp.objectives.precision import full_precision


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
    z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    everything = torch.cat((distributed.gather(z1), distributed.gather(z2)))
    batch, total = len(z1), len(everything) // 2
    rows = torch.arange(batch, device=z1.device) + distributed.rank() * batch
    logits = torch.cat((z1, z2)) @ everything.T / temperature
    own = F.one_hot(torch.cat((rows, rows + total)), 2 * total).bool()
    partner = torch.cat((rows + total, rows))
    hidden = own
    if ignore is not None:
        both = torch.cat((torch.cat((ignore, ignore), dim=1), torch.cat((ignore, ignore), dim=1)))
        hidden = own | (both & ~F.one_hot(partner, 2 * total).bool())
    losses = F.cross_entropy(logits.masked_fill(hidden, -torch.inf), partner, reduction="none")
    return losses.mean() if weights is None else (losses * weights.repeat(2)).mean()


@full_precision
def info_nce(
    queries: Tensor,
    keys: Tensor,
    negatives: Tensor,
    temperature: float,
    *,
    weights: Tensor | None = None,
) -> Tensor:
    """InfoNCE against a memory, He et al. (arXiv 1911.05722), equation 1.

    L = CE([q.k | q.M^T] / temperature, 0), the mean over the batch.

    Args:
        queries: float [B, D], from the trained network.
        keys: float [B, D], the positives, from the momentum network; no gradient reaches them.
        negatives: float [K, D], unit rows of the memory; no gradient.
        temperature: tau > 0.
        weights: a weight for each pair, float [B] (1 = unweighted).

    Returns:
        A scalar.
    """
    queries, keys = F.normalize(queries, dim=1), F.normalize(keys.detach(), dim=1)
    positive = (queries * keys).sum(dim=1, keepdim=True)
    logits = torch.cat((positive, queries @ negatives.detach().T), dim=1) / temperature
    target = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    losses = F.cross_entropy(logits, target, reduction="none")
    return losses.mean() if weights is None else (losses * weights).mean()
