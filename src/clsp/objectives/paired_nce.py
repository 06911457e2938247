"""InfoNCE over the pairs of two sets: one side's partner is told from the other side's other members."""

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
def paired_nce(
    rows: Tensor,
    columns: Tensor,
    temperature: float,
    *,
    weights: Tensor | None = None,
    ignore: Tensor | None = None,
) -> Tensor:
    """InfoNCE over the pairs of two sets: row i's positive is column i, its negatives are the other columns.

    L = CE(n(rows) n(columns)^T / temperature, diagonal), the mean over the rows. This is NNCLR's loss (Dwibedi et al.,
    arXiv 2104.14548, equation 2, rows = nearest neighbours, columns = predictions) and one direction of MoCo v3's (Chen
    et al., arXiv 2104.02057, rows = queries, columns = keys) up to the latter's factor 2 * temperature.

    Args:
        rows: float [B, D], of this process.
        columns: float [B, D], of this process; they are gathered from all, with gradient where they have one.
        temperature: tau > 0.
        weights: a weight for each pair, float [B] (1 = unweighted).
        ignore: bool [B, G], True where column j is no negative of row i; G is the global batch.

    Returns:
        A scalar.
    """
    rows = F.normalize(rows, dim=1)
    columns = distributed.gather(F.normalize(columns, dim=1))
    logits = rows @ columns.T / temperature
    target = distributed.rows(len(rows), rows.device)
    if ignore is not None:
        logits = logits.masked_fill(ignore & ~F.one_hot(target, len(columns)).bool(), -torch.inf)
    return weighted_mean(F.cross_entropy(logits, target, reduction="none"), weights)


@settings
class PairedNCE(Objective):
    """InfoNCE from the anchor to the batch's positives: only positives repel, and the real views do not."""

    temperature: Positive = 0.2
    """tau of the pull."""
    negatives: ClassVar[bool] = True

    def __call__(
        self, anchors: Tensor, positives: Tensor, *, weights: Tensor | None = None, ignore: Tensor | None = None
    ) -> Tensor:
        """Compute `paired_nce`, the anchors in the rows."""
        return paired_nce(anchors, positives, self.temperature, weights=weights, ignore=ignore)
