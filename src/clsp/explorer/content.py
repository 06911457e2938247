"""What the page shows: the images with their embeddings, what was found in them, and candidates of the anchors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clsp import files
from clsp.evaluation.embeddings import Embeddings
from clsp.explorer.found import Found
from clsp.images.imageset import subset
from clsp.positives.bank import PositiveBank
from clsp.text import portable

_MOST = 50_000
"""Images on a page; of more, so many at random."""
_CANDIDATES, _EACH = 20_000, 16
"""Candidates on a page, and of one anchor, at most."""


def limited(total: int, *, seed: int) -> np.ndarray:
    """Choose the images of the page: all, or 50,000 of them at random, int64 [n], sorted."""
    return subset(total, _MOST, seed=seed)


@dataclass(frozen=True)
class Content:
    """The images of a page. A row is an image's place on the page."""

    title: str
    """The data in a few words."""
    embeddings: Embeddings
    """Of all images."""
    rows: np.ndarray
    """Which of them the page shows, int64 [n], sorted."""
    found: Found
    """What was found among the images of the page."""
    seed: int
    """Names all that is drawn at random."""
    bank: PositiveBank | None = None
    """Candidates of the train images, where there are any."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def values(self) -> np.ndarray:
        """Embeddings, float32 [n, D]."""
        values = self.embeddings.values
        return values if len(self.rows) == len(values) else values[self.rows]

    @cached_property
    def names(self) -> list[str]:
        """Names of the images, as UTF-8 can hold them."""
        return [portable(self.embeddings.names[row]) for row in self.rows]

    @cached_property
    def parts(self) -> list[str]:
        """``train`` or ``test``."""
        return [self.embeddings.parts[row] for row in self.rows]

    @cached_property
    def labels(self) -> list[str | None]:
        """Names of the classes; None where there is no label."""
        labels = [self.embeddings.labels[row] for row in self.rows]
        return [None if label is None else portable(label) for label in labels]

    def pictures(self, first: int, last: int) -> np.ndarray:
        """The images of some rows, uint8 [n, C, H, W]."""
        return files.take(self.embeddings.pixels, self.rows[first:last])

    @cached_property
    def anchors(self) -> np.ndarray:
        """Rows whose candidates the page shows, int64 [a]: all that have some, or so many that the page stays small."""
        if self.bank is None:
            return np.empty(0, np.int64)
        having = np.flatnonzero(np.isin(self.rows, self.bank.ids))  # the train part comes first: a row is its index
        return having[subset(len(having), max(_CANDIDATES // self.each, 1), seed=self.seed)]

    @property
    def each(self) -> int:
        """Candidates of an anchor that the page shows."""
        return 0 if self.bank is None else min(self.bank.candidates, _EACH)

    def candidates(self, first: int, last: int) -> np.ndarray:
        """Candidates ``first`` to ``last``, those of the first anchor first: uint8 [n, C, H, W]."""
        assert self.bank is not None
        numbers = np.arange(first, last)
        rows = self.bank.rows(self.rows[self.anchors[numbers // self.each]])
        return self.bank.read(rows, numbers % self.each)
