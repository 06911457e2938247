"""The nearest embedding of a past image: NNCLR's positive (arXiv 2104.14548), for any method."""

from __future__ import annotations

from typing import ClassVar, Literal

from clsp.positives.neighbour import NeighbourSearch
from clsp.positives.placement import Host
from clsp.positives.source import Source
from clsp.settings import Count, settings


@settings
class Neighbour(Source):
    """The nearest embedding in a memory of past images, as the trained network searches it."""

    level: ClassVar[Literal["image", "embedding"]] = "embedding"
    memory: Count = 65536
    """Embeddings in the memory; at most as many as there are images, or an image meets its own old embedding."""

    def search(self, dim: int, *, seed: int, host: Host | None) -> NeighbourSearch:
        """Return what searches."""
        return NeighbourSearch(self.memory, dim, seed=seed, host=host)
