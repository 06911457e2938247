"""A source of embeddings: the nearest one of past images in a memory, for any method (NNCLR, arXiv 2104.14548)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from clsp.encoders.memory import Deferred, Memory
from clsp.positives.placement import NO_IMAGE, Host, in_place


class Moment(Protocol):
    """When a batch is seen."""

    @property
    def progress(self) -> float:
        """Fraction of the training that is done."""
        ...

    @property
    def step(self) -> int:
        """The training step."""
        ...


@dataclass(frozen=True)
class Exchanged:
    """What a view is pulled to."""

    rows: Tensor
    """Embeddings, float [B, D]."""
    shown: Tensor | None = None
    """Dataset indices of the images whose past embeddings they are, int64 [B], `NO_IMAGE` where they are the view's
    own; None: all are."""


class NeighbourSearch(Deferred):
    """Finds the nearest embedding of past images, and remembers those that it was asked for after the step.

    Args:
        memory: how many embeddings are remembered.
        dim: their width.
        seed: names the rows with which the memory starts.
        host: how often a neighbour stands in the second view's place; None: it is a third embedding.
    """

    def __init__(self, memory: int, dim: int, *, seed: int, host: Host | None) -> None:
        super().__init__()
        self.memory = Memory(memory, dim, seed=seed)
        self.host, self._seed = host, seed
        self._asked: list[tuple[Tensor, Tensor]] = []
        self.found: Tensor | None = None
        """Ids of what was found first in this step, int64 [B], -1 for random rows; None: nothing was asked for."""

    @torch.no_grad()
    def forward(self, embeddings: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Find the neighbour of each of ``embeddings`` float [B, D] of images ``ids``: rows [B, D] and their ids."""
        found = self.memory.search(embeddings, 1)
        rows, shown = found.rows[:, 0], found.ids[:, 0]
        if not self._asked:
            self.found = shown
        self._asked.append((embeddings.detach(), ids))
        return rows, shown

    def exchange(self, targets: Tensor, ids: Tensor, moment: Moment) -> Exchanged:
        """Put the neighbours of ``targets`` [B, D] in their place for a fraction of the images."""
        if self.host is None:
            return Exchanged(targets)
        rows, shown = self(targets, ids)
        chosen = in_place(ids, self.host.fraction(moment.progress), seed=self._seed, step=moment.step)
        others = torch.where(chosen & (shown >= 0), shown, NO_IMAGE)
        return Exchanged(torch.where(chosen[:, None], rows.to(targets.dtype), targets), others)

    def flush(self) -> None:
        """Remember the embeddings that were asked for first: those of one view of each image."""
        if self._asked:
            self.memory.note(*self._asked[0])
            self.memory.flush()
            self._asked, self.found = [], None
