"""Retrieval: mean average precision by cosine similarity, exact, in chunks with bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluator import Evaluator
from clsp.evaluation.measure import Measure
from clsp.evaluation.statistics import mean_at_random
from clsp.evaluation.task import Task
from clsp.evaluation.trained import Trained
from clsp.images.imageset import subset

_CHUNK = 4_000_000
"""Elements of the largest similarity matrix that is held at once (16 MB, and up to ten times that with its ranks)."""


class Retrieval(Evaluator):
    """How well test images find the others of their class."""

    settings: EvaluateConfig
    place = 30

    def __call__(self, trained: Trained, data: Task) -> list[Measure]:
        """Let each test image, at most so many, rank all others; nothing where no class has two test images."""
        labels, queries = data.test.column("label"), self.settings.retrieval_queries
        return retrieve(trained.test, labels, queries=queries, seed=data.seed, note=data.note)


def retrieve(features: Tensor, labels: np.ndarray, *, queries: int, seed: int, note: str) -> list[Measure]:
    """Let each test image rank all other test images; those with its label are the ones to find.

    Args:
        features: features of the test images, float [N, D].
        labels: their labels, int64 [N].
        queries: at most so many images search, chosen at random; all are searched.
        seed: names that choice.
        note: where the test images come from.

    Returns:
        One measure; none where no class has two test images: then there is nothing to find.
    """
    sizes = np.bincount(labels)
    able = np.flatnonzero(sizes[labels] > 1)
    if not len(able):
        return []
    rows = able[subset(len(able), queries, seed=seed + 9)]
    found = average_precisions(features, torch.from_numpy(labels), torch.from_numpy(rows))
    relevant, others = sizes[labels[rows]] - 1, len(labels) - 1
    chance, alike = mean_at_random(relevant, others), float(relevant.mean()) / others
    protocol = (
        f"mean average precision over {len(rows)} queries, each a test image that ranks all {others} others "
        "by the cosine similarity of frozen features; those with its label count as found (a random order reaches "
        f"about {100 * chance:.1f} %, features that are all alike {100 * alike:.1f} %); of {note}"
    )
    value = round(100 * float(found.queries.mean()), 2)
    title, each = "retrieval", found.of_images(torch.from_numpy(rows)).numpy()
    return [Measure(name=title, title=title, quantity="mAP", metric="map", value=value, protocol=protocol, each=each)]


@dataclass(frozen=True)
class Found:
    """Average precisions of queries among N images, and what each image's absence would make of them."""

    queries: Tensor
    """Average precision of each query's ranking, float64 [Q] in (0, 1]."""
    without: Tensor
    """Sum over the other queries of what their average precisions gain where an image is taken away, float64 [N]."""
    idle: Tensor
    """Queries that then have nothing to find, int64 [N]: their precision is no part of the mean."""

    def of_images(self, rows: Tensor) -> Tensor:
        """What each image contributes to the mean over the queries ``rows``, int64 [Q]: float64 [N] with that mean.

        They are the jackknife's pseudo-values (Efron and Tibshirani, 1993, chapter 11). The standard error of their
        mean is that of the mean average precision over sets of images: an image plays a part as a query and in the
        rankings of all others, so that the precisions of the queries alone vary too little together.
        """
        count, own, asks = len(self.without), torch.zeros(len(self.without), dtype=torch.float64), self.idle.clone()
        own[rows] = self.queries
        asks[rows] += 1
        mean = self.queries.mean()
        left = (len(rows) - asks).clamp_min(1)
        absent = (self.queries.sum() - own + self.without) / left
        pseudo = count * mean - (count - 1) * absent
        return pseudo + mean - pseudo.mean()


def average_precisions(features: Tensor, labels: Tensor, queries: Tensor) -> Found:
    """Average precision of each query's ranking of all other rows by cosine similarity.

    It is the mean, over the rows that share the query's label, of the fraction of relevant rows among all that are at
    least as similar. So equally similar rows have one rank, and the order of the rows plays no part.

    Args:
        features: float [N, D].
        labels: int64 [N].
        queries: rows that search, int64 [Q]; each has another row with its label.
    """
    unit, rows = F.normalize(features, dim=1), max(_CHUNK // len(features), 1)
    found = torch.empty(len(queries), dtype=torch.float64)
    without, idle = torch.zeros(len(features), dtype=torch.float64), torch.zeros(len(features), dtype=torch.int64)
    for part in labels[queries].argsort().split(rows):  # places in ``queries``, those of one label together
        found[part] = _of_chunk(unit, labels, queries[part], without, idle)
    return Found(found, without, idle)


def _of_chunk(unit: Tensor, labels: Tensor, queries: Tensor, without: Tensor, idle: Tensor) -> Tensor:
    """Average precisions of a few queries among the rows of ``unit`` [N, D]: float64 [Q]; adds what absences gain."""
    similarities = unit[queries] @ unit.T
    similarities[torch.arange(len(queries)), queries] = -torch.inf  # a query ranks itself last, and is then left out
    ordered, asked = _sorted(similarities), labels[queries]
    found = torch.empty(len(queries), dtype=torch.float64)
    for label in asked.unique():  # queries of one label have the same relevant rows
        own, alike = (asked == label).nonzero()[:, 0], labels == label
        relevant = _sorted(similarities[own[:, None], alike.nonzero()[:, 0]])[:, 1:].contiguous()
        ranks = _Ranks(relevant, _at_least(relevant, relevant).double(), _at_least(ordered[own], relevant).double())
        found[own] = ranks.precision
        gained = ranks.gained(similarities[own], alike)
        gained[torch.arange(len(own)), queries[own]] = 0.0  # as a query it is counted by itself
        without += gained.sum(dim=0)
        if relevant.shape[1] == 1:
            idle += alike * len(own)
            idle[queries[own]] -= 1
    return found


@dataclass(frozen=True)
class _Ranks:
    """Where the relevant rows of some queries of one label stand."""

    relevant: Tensor
    """Their similarities, rising, float [Q, R]."""
    hits: Tensor
    """Relevant rows that are at least as similar, float64 [Q, R]."""
    rows: Tensor
    """All rows that are, likewise."""

    @property
    def precision(self) -> Tensor:
        """Average precisions, float64 [Q]."""
        return (self.hits / self.rows).mean(dim=1)

    def gained(self, similarities: Tensor, alike: Tensor) -> Tensor:
        """What the average precisions gain without each row: float64 [Q, N].

        Without an irrelevant row all relevant ones that are no more similar move up by one; without a relevant one they
        also lose a hit, and it is no part of the mean. A query whose only relevant row is gone loses all.

        Args:
            similarities: of the queries to all rows, float [Q, N].
            alike: which rows are relevant, bool [N].
        """
        count = self.relevant.shape[1]
        after = torch.searchsorted(self.relevant, similarities.contiguous(), right=True)
        part, up = self.hits / self.rows, (self.rows - 1).clamp_min(1)
        moved, fewer = _before(self.hits / up - part), (self.hits - 1) / up
        gained = moved.gather(1, after) / count
        places = after[:, alike]
        kept = part.sum(dim=1, keepdim=True) + _before(fewer - part).gather(1, places)
        rest = kept - fewer.gather(1, (places - 1).clamp_min(0))
        gained[:, alike] = rest / max(count - 1, 1) - self.precision[:, None] if count > 1 else -self.precision[:, None]
        return gained


def _before(values: Tensor) -> Tensor:
    """Sums of the first 0, 1, ... of the values in each row: [Q, R + 1] of [Q, R]."""
    return F.pad(values.cumsum(dim=1), (1, 0))


def _sorted(values: Tensor) -> Tensor:
    """Sort each row, rising; numpy's sort is many times faster than torch's, which keeps the places as well."""
    return torch.from_numpy(np.sort(values.numpy(), axis=1))


def _at_least(ordered: Tensor, values: Tensor) -> Tensor:
    """How many in each row of ``ordered`` (rising, [Q, N]) are at least each of ``values`` [Q, M]: int64 [Q, M]."""
    return ordered.shape[1] - torch.searchsorted(ordered, values)
