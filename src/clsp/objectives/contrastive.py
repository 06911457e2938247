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


@full_precision
def paired_nce(rows: Tensor, columns: Tensor, temperature: float, *, weights: Tensor | None = None) -> Tensor:
    """InfoNCE over the pairs of two sets: row i's positive is column i, its negatives are the other columns.

    L = CE(n(rows) n(columns)^T / temperature, diagonal), the mean over the rows. This is NNCLR's loss (Dwibedi et al.,
    arXiv 2104.14548, equation 2, rows = nearest neighbours, columns = predictions) and one direction of MoCo v3's (Chen
    et al., arXiv 2104.02057, rows = queries, columns = keys) up to the latter's factor 2 * temperature.

    Args:
        rows: float [B, D], of this process.
        columns: float [B, D], of this process; they are gathered from all, with gradient where they have one.
        temperature: tau > 0.
        weights: a weight for each pair, float [B] (1 = unweighted).

    Returns:
        A scalar.
    """
    rows = F.normalize(rows, dim=1)
    columns = distributed.gather(F.normalize(columns, dim=1))
    logits = rows @ columns.T / temperature
    target = torch.arange(len(rows), device=rows.device) + distributed.rank() * len(rows)
    losses = F.cross_entropy(logits, target, reduction="none")
    return losses.mean() if weights is None else (losses * weights).mean()


@full_precision
def sup_con(z1: Tensor, z2: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """SupCon's L_out, Khosla et al. (arXiv 2004.11362), equation 2: all views of the same label are positives.

    L = mean_i -1/|P(i)| sum_{p in P(i)} log( exp(s_ip) / sum_{a != i} exp(s_ia) ), without the official code's factor
    temperature / 0.07.

    Args:
        z1: embeddings of the first views, float [B, D].
        z2: embeddings of the second views, float [B, D].
        labels: int64 [B].
        temperature: tau > 0.

    Returns:
        A scalar. With all labels different it equals `nt_xent`.
    """
    z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    everything = torch.cat((distributed.gather(z1), distributed.gather(z2)))
    every_label = distributed.gather_detached(labels).repeat(2)
    batch, total = len(z1), len(everything) // 2
    rows = torch.arange(batch, device=z1.device) + distributed.rank() * batch
    own = F.one_hot(torch.cat((rows, rows + total)), 2 * total).bool()
    logits = torch.cat((z1, z2)) @ everything.T / temperature
    log_share = logits - logits.masked_fill(own, -torch.inf).logsumexp(dim=1, keepdim=True)
    positive = (labels.repeat(2)[:, None] == every_label[None]) & ~own
    return -((log_share * positive).sum(dim=1) / positive.sum(dim=1)).mean()
