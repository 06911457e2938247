"""Nearest neighbours by cosine similarity: exact, in chunks, with bounded memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 10_000_000
"""Elements of the largest similarity matrix that is held at once (40 MB)."""


@torch.no_grad()
def nearest(queries: Tensor, references: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k references of highest cosine similarity; no gradient flows.

    Args:
        queries: float [Q, D].
        references: float [R, D], R >= k.
        k: neighbours.

    Returns:
        Similarities float [Q, k], in falling order, and indices int64 [Q, k].
    """
    queries, references = F.normalize(queries, dim=1), F.normalize(references, dim=1)
    rows = max(_CHUNK // len(references), 1)
    # One matrix for all chunks, and results that lie there before it: a new matrix for each chunk, with results
    # allocated in between, would leave holes in a heap that is kept (engine/heap.py), as large as the whole matrix.
    values = queries.new_empty(len(queries), k)
    indices = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    matrix = queries.new_empty(min(rows, len(queries)), len(references))
    for first in range(0, len(queries), rows):
        part = slice(first, first + rows)
        similar = torch.mm(queries[part], references.T, out=matrix[: len(queries[part])])
        torch.topk(similar, k, dim=1, out=(values[part], indices[part]))
    return values, indices
