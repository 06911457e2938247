"""Objectives whose target is a distribution: over prototypes (SwAV, DINO) or over a memory (ReSSL)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp.objectives.base import weighted_mean
from clsp.objectives.precision import full_precision


@full_precision
def soft_cross_entropy(targets: Tensor, logits: Tensor, temperature: float, *, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy to a soft target: L = -sum_k q_k log softmax(logits / temperature)_k, the mean over the rows.

    Args:
        targets: q, float [B, K], rows sum to 1; no gradient reaches them.
        logits: float [B, K].
        temperature: tau > 0.
        weights: a weight for each row, float [B] (1 = unweighted).

    Returns:
        A scalar. With a target of one 1 in each row it is the cross-entropy with that class.
    """
    return -weighted_mean((targets.detach() * F.log_softmax(logits / temperature, dim=1)).sum(dim=1), weights)


def swapped_prediction(
    targets: Sequence[Tensor], logits: Sequence[Tensor], temperature: float, *, weights: Tensor | None = None
) -> Tensor:
    """SwAV's and DINO's loss: each view's target is predicted from all other views.

    L = mean over views i with a target and all views v != i of H(q_i, softmax(p_v / temperature)): Caron et al., arXiv
    2006.09882 (multi-crop) and arXiv 2104.14294.

    Args:
        targets: q_i, float [B, K] each, rows sum to 1, of the first two views or more; no gradient reaches them.
        logits: p_v, float [B, K] each, of all views, those with a target first.
        temperature: tau > 0.
        weights: a weight for each image, float [B] (1 = unweighted).

    Returns:
        A scalar.
    """
    # H is linear in its target, so one softmax a view serves for all targets that it is to predict.
    others = (torch.stack([q for i, q in enumerate(targets) if i != v]).sum(dim=0) for v in range(len(logits)))
    terms = [soft_cross_entropy(q, p, temperature, weights=weights) for q, p in zip(others, logits)]
    return torch.stack(terms).sum() / (len(targets) * (len(logits) - 1))


@full_precision
def relational(
    queries: Tensor,
    keys: Tensor,
    rows: Tensor,
    temperature: float,
    key_temperature: float,
    *,
    weights: Tensor | None = None,
) -> Tensor:
    """ReSSL, Zheng et al. (arXiv 2107.09282), as its code has it: a query relates to a memory as its key does.

    L = -sum_m softmax(k M^T / key_temperature)_m log softmax(q M^T / temperature)_m, the mean over the batch.

    Args:
        queries: of the trained network, float [B, D], not necessarily normalised.
        keys: of the momentum network, float [B, D], in the same order; no gradient reaches them.
        rows: unit rows of the memory, float [M, D]; no gradient.
        temperature: tau of the queries.
        key_temperature: tau of the keys; the smaller one, or training collapses.
        weights: a weight for each query, float [B] (1 = unweighted).

    Returns:
        A scalar.
    """
    rows = rows.detach()
    targets = F.softmax(F.normalize(keys.detach(), dim=1) @ rows.T / key_temperature, dim=1)
    return soft_cross_entropy(targets, F.normalize(queries, dim=1) @ rows.T, temperature, weights=weights)


@torch.no_grad()
@full_precision
def sinkhorn(logits: Tensor, epsilon: float, iterations: int, *, weights: Tensor | None = None) -> Tensor:
    """SwAV's codes, Caron et al. (arXiv 2006.09882), as its code has them: soft, equally many for every prototype.

    Q = diag(u) exp(logits / epsilon) diag(v) by Sinkhorn and Knopp's iteration, which scales columns and rows in turn;
    in logarithms, so that nothing overflows.

    Args:
        logits: similarities of samples and prototypes, float [N, K].
        epsilon: how soft the codes are.
        iterations: pairs of scalings.
        weights: how much a sample counts in its columns' sums, float [N], at least 0 (1 = unweighted).

    Returns:
        float [N, K] without gradient; rows sum to 1.
    """
    code = logits / epsilon
    log_weights = 0.0 if weights is None else weights.to(code.dtype).log()[:, None]
    for _ in range(iterations):
        code = code - torch.logsumexp(code + log_weights, dim=0, keepdim=True)
        code = code - torch.logsumexp(code, dim=1, keepdim=True)
    return code.exp()
