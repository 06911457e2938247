"""SupCon: all views of the same label are positives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import distributed
from clsp.objectives.base import weighted_mean
from clsp.objectives.precision import full_precision


@full_precision
def sup_con(
    z1: Tensor,
    z2: Tensor,
    labels: Tensor,
    temperature: float,
    *,
    weights: Tensor | None = None,
    ignore: Tensor | None = None,
) -> Tensor:
    """SupCon's L_out, Khosla et al. (arXiv 2004.11362), equation 2: all views of the same label are positives.

    L = mean_i -1/|P(i)| sum_{p in P(i)} log( exp(s_ip) / sum_{a != i} exp(s_ia) ), without the official code's factor
    temperature / 0.07.

    Args:
        z1: embeddings of the first views, float [B, D].
        z2: embeddings of the second views, float [B, D].
        labels: int64 [B]; -1 where there is none: such an image has its own other view as its positive alone.
        temperature: tau > 0.
        weights: a weight for each image, float [B] (1 = unweighted).
        ignore: bool [B, G], True where image j is no negative of image i. Images of one label stay positives.

    Returns:
        A scalar. With all labels different it equals `nt_xent`.
    """
    z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    everything = torch.cat((distributed.gather(z1), distributed.gather(z2)))
    every_label = distributed.gather_detached(labels).repeat(2)
    batch, total = len(z1), len(everything) // 2
    rows = distributed.rows(batch, z1.device)
    known, places = labels.repeat(2)[:, None], torch.cat((rows, rows + total))
    own = F.one_hot(places, 2 * total).bool()
    other = F.one_hot((places + total) % (2 * total), 2 * total).bool()
    positive = other | ((known == every_label[None]) & (known >= 0) & ~own)
    hidden = own if ignore is None else own | (ignore.repeat(2, 2) & ~positive)
    logits = torch.cat((z1, z2)) @ everything.T / temperature
    log_odds = logits - logits.masked_fill(hidden, -torch.inf).logsumexp(dim=1, keepdim=True)
    losses = -((log_odds * positive).sum(dim=1) / positive.sum(dim=1))
    return weighted_mean(losses, None if weights is None else weights.repeat(2))
