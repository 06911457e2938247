"""InfoNCE against a memory of past embeddings (MoCo)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp.objectives.base import weighted_mean
from clsp.objectives.precision import full_precision


@full_precision
def info_nce(
    queries: Tensor,
    keys: Tensor,
    negatives: Tensor,
    temperature: float,
    *,
    weights: Tensor | None = None,
    ignore: Tensor | None = None,
) -> Tensor:
    """InfoNCE against a memory, He et al. (arXiv 1911.05722), equation 1.

    L = CE([q.k | q.M^T] / temperature, 0), the mean over the batch.

    Args:
        queries: float [B, D], from the trained network.
        keys: float [B, D], the positives, from the momentum network; no gradient reaches them.
        negatives: float [K, D], unit rows of the memory; no gradient.
        temperature: tau > 0.
        weights: a weight for each pair, float [B] (1 = unweighted).
        ignore: bool [B, K], True where row k of the memory is no negative of image i.

    Returns:
        A scalar.
    """
    queries, keys = F.normalize(queries, dim=1), F.normalize(keys.detach(), dim=1)
    positive = (queries * keys).sum(dim=1, keepdim=True)
    repelled = queries @ negatives.detach().T
    if ignore is not None:
        repelled = repelled.masked_fill(ignore, -torch.inf)
    logits = torch.cat((positive, repelled), dim=1) / temperature
    target = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    return weighted_mean(F.cross_entropy(logits, target, reduction="none"), weights)
