"""Neighbour consistency: what a classifier says of an image is what it says of the images that look alike to it."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import distributed
from clsp.objectives.precision import full_precision

Divergence = Literal["forward", "reverse"]
_EPSILON = 1e-16
"""Added to the neighbours' probabilities before the logarithm, as the authors' code does."""


@full_precision
def neighbour_consistency(
    logits: Tensor,
    features: Tensor,
    *,
    neighbours: int,
    temperature: float,
    power: float = 1.0,
    divergence: Divergence = "forward",
    detach: bool = False,
    more: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """NCR, Iscen et al. (arXiv 2202.02200): predictions agree with those of the nearest neighbours in the batch.

    With unit features v and p_j = softmax(z_j / T), the target of image i is q_i = sum_j w_ij p_j over its k nearest
    neighbours j != i, w_ij = max(v_i . v_j, 0)^power over their sum. The paper's code minimises T^2 KL(q_i || p_i)
    (``forward``); its equation 4 is printed as KL(p_i || q_i), without T^2 (``reverse``). Nothing is detached in its
    code: the gradient reaches the neighbours' logits and, through the weights, the features.

    Args:
        logits: z, float [B, C].
        features: v, not necessarily of unit length, float [B, D].
        neighbours: k >= 1; at most all other images of the global batch.
        temperature: T > 0.
        power: of the similarities.
        divergence: which of the two.
        detach: whether no gradient reaches the targets.
        more: logits [M, C] and features [M, D] of further images that may be neighbours; they are no anchors.

    Returns:
        A scalar, the mean over the batch. An image whose neighbours all have similarity 0 or less counts as consistent.
    """
    unit = F.normalize(features, dim=1)
    pool, said = distributed.gather(unit), distributed.gather(logits)
    rows, own = distributed.rows(len(logits), logits.device), len(pool)
    if more is not None:
        pool = torch.cat((pool, distributed.gather(F.normalize(more[1], dim=1))))
        said = torch.cat((said, distributed.gather(more[0])))
    itself = torch.zeros(len(logits), len(pool), dtype=torch.bool, device=logits.device)
    itself[:, :own] = F.one_hot(rows, own).bool()
    similar = (unit @ pool.T).masked_fill(itself, -torch.inf)
    similar, places = similar.topk(min(neighbours, len(pool) - 1), dim=1)
    weights = torch.where(similar > 0, similar, 1.0).pow(power) * (similar > 0)
    whole = weights.sum(dim=1, keepdim=True)
    weights = weights / whole.clamp(min=torch.finfo(weights.dtype).tiny)
    targets = torch.einsum("bk,bkc->bc", weights, F.softmax(said / temperature, dim=1)[places])
    if detach:
        targets = targets.detach()
    losses = _divergence(targets, F.log_softmax(logits / temperature, dim=1), divergence)
    losses = torch.where(whole[:, 0] > 0, losses, 0.0)
    return losses.mean() * (temperature**2 if divergence == "forward" else 1.0)


def _divergence(targets: Tensor, said: Tensor, divergence: Divergence) -> Tensor:
    """KL(targets || said), or the reverse, of each row; ``said`` are logarithms."""
    logs = (targets + _EPSILON).log()
    if divergence == "forward":
        return (targets * (logs - said)).sum(dim=1)
    return (said.exp() * (said - logs)).sum(dim=1)
