"""All4One's feature term: the columns of two sets of embeddings are made to agree one by one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import distributed
from clsp.objectives.precision import full_precision
from clsp.objectives.redundancy import off_diagonal


@full_precision
def feature_agreement(targets1: Tensor, targets2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """All4One's feature loss (Estepa et al., arXiv 2303.09417; the released code's form).

    With columns normalised over the batch, C1 = n(t1)^T n(z2) and C2 = n(t2)^T n(z1), [D, D]:
    on = sqrt(1/2 (mean_d (C1_dd - 1)^2 + mean_d (C2_dd - 1)^2)), off likewise over the other entries against 0;
    L = 10 (1/2 on + 1/2 off).

    Args:
        targets1: the momentum network's embeddings of the first views, float [B, D]; no gradient.
        targets2: of the second views, likewise.
        z1: the trained network's embeddings of the first views, float [B, D].
        z2: of the second views, likewise.

    Returns:
        A scalar.
    """
    t1, t2 = (F.normalize(distributed.gather_detached(t), dim=0) for t in (targets1, targets2))
    a1, a2 = (F.normalize(distributed.gather(z), dim=0) for z in (z1, z2))
    (on1, off1), (on2, off2) = _errors(t1.T @ a2), _errors(t2.T @ a1)
    on, off = torch.sqrt(0.5 * (on1 + on2)), torch.sqrt(0.5 * (off1 + off2))
    return 10.0 * (0.5 * on + 0.5 * off)


def _errors(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error of the diagonal against 1 and of the rest against 0."""
    diagonal = torch.diagonal(correlation)
    size = len(diagonal)
    return (diagonal - 1.0).square().mean(), off_diagonal(correlation) / (size * (size - 1))
