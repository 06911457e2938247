"""The memory: a first-in-first-out store of past embeddings (MoCo's queue, NNCLR's support set)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsp import distributed, randomness


@dataclass(frozen=True)
class Neighbours:
    """What a search found, nearest first."""

    rows: Tensor
    """Unit embeddings, float [B, k, dim]."""
    ids: Tensor
    """Their dataset indices, int64 [B, k]; -1 for rows that are still random."""
    similarity: Tensor
    """Cosine similarities, float [B, k]."""


class Deferred(nn.Module, ABC):
    """What takes a batch in only after the optimiser's step: the backward pass still needs the old values."""

    @abstractmethod
    def flush(self) -> None:
        """Take in what was noted since the last step; nothing where nothing was."""


class Memory(Deferred):
    """The newest ``size`` embeddings with their dataset indices; part of the checkpoint.

    It starts, like MoCo's queue, with random unit rows, whose index is -1. Any number of rows may be added at once.
    Search before you add: a batch that was just added finds itself.

    Attributes:
        rows: unit embeddings, float [size, dim].
        ids: dataset indices of the rows, int64 [size]; -1 for the random ones.
        next: place of the oldest row, which the next added one replaces, int64 [].
    """

    rows: Tensor
    ids: Tensor
    next: Tensor

    def __init__(self, size: int, dim: int, *, seed: int) -> None:
        super().__init__()
        start = randomness.normal(seed, "memory start", (torch.arange(size),), (dim,))
        self.register_buffer("rows", F.normalize(start, dim=1))
        self.register_buffer("ids", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))
        self._noted: tuple[Tensor, Tensor] | None = None

    def note(self, embeddings: Tensor, ids: Tensor) -> None:
        """Note this process's embeddings float [B, dim] and their dataset indices int64 [B], for `flush`."""
        self._noted = embeddings.detach(), ids

    def flush(self) -> None:
        """Add what was noted on all processes."""
        if self._noted is not None:
            self.add(*map(distributed.gather_detached, self._noted))
            self._noted = None

    @torch.no_grad()
    def search(self, queries: Tensor, k: int) -> Neighbours:
        """Find the ``k`` rows of highest cosine similarity to ``queries`` (float [B, dim]); no gradient."""
        with torch.autocast(queries.device.type, enabled=False):
            similarity = F.normalize(queries.float(), dim=1) @ self.rows.T
        found = similarity.topk(k, dim=1)
        return Neighbours(self.rows[found.indices], self.ids[found.indices], found.values)

    @torch.no_grad()
    def add(self, embeddings: Tensor, ids: Tensor) -> None:
        """Replace the oldest rows; of more rows than fit, the last ``size`` are kept.

        Args:
            embeddings: float [B, dim], of the global batch, so that the memory is the same on every process.
            ids: dataset indices, int64 [B].
        """
        size = len(self.rows)
        embeddings, ids = embeddings[-size:], ids[-size:]
        places = (self.next + torch.arange(len(ids), device=self.ids.device)) % size
        self.rows[places] = F.normalize(embeddings.float(), dim=1)
        self.ids[places] = ids
        self.next.copy_((self.next + len(ids)) % size)
