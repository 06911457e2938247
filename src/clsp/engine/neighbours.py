"""Nearest neighbours by cosine similarity: exact, in chunks, with bounded memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 50_000_000
"""Elements of the largest similarity matrix that is held at once (200 MB)."""


def nearest(queries: Tensor, references: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k references of highest cosine similarity.

    Args:
        queries: float [Q, D].
        references: float [R, D], R >= k.
        k: neighbours.

    Returns:
        Similarities float [Q, k], in falling order, and indices int64 [Q, k].
    """
    queries, references = F.normalize(queries, dim=1), F.normalize(references, dim=1)
    rows = max(_CHUNK // len(references), 1)
    found = [(part @ references.T).topk(k, dim=1) for part in queries.split(rows)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
