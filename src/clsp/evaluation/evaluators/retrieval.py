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

_CHUNK = 1_000_000
"""Elements of the largest similarity matrix that is held at once (4 MB, and ten times that with its ranks)."""


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
    asked, found = labels[queries], torch.empty(len(queries), dtype=torch.float64)
    for label in asked.unique():  # queries of one label have the same relevant rows
        own, alike = (asked == label).nonzero()[:, 0], labels == label
        some = similarities[own]
        order = torch.from_numpy(np.argsort(some.numpy(), axis=1))  # many times faster than torch's
        ranks = _Ranks(some.gather(1, order), alike[order])
        found[own], gained = ranks.precision, ranks.gained()
        without.index_add_(0, order.flatten(), gained.flatten())
        if ranks.relevant == 1:
            idle += alike * len(own)
            idle[queries[own]] -= 1
    return found


class _Ranks:
    """Where the relevant rows of some queries of one label stand among all.

    Args:
        similarities: of all rows, rising, float [Q, N]; the first one of each is the query's own.
        alike: which of them bear the query's label, bool [Q, N].
    """

    def __init__(self, similarities: Tensor, alike: Tensor) -> None:
        count, place = similarities.shape[1], torch.arange(similarities.shape[1], dtype=torch.int32)
        alike[:, 0] = False
        self.relevant = int(alike[0].sum())
        equal = F.pad(
            similarities[:, 1:] == similarities[:, :-1], (1, 1)
        )  # whether a row is as similar as the one before
        first = np.maximum.accumulate(torch.where(equal[:, :-1], 0, place).numpy(), axis=1)
        last = np.minimum.accumulate(torch.where(equal[:, 1:], count, place).long().numpy()[:, ::-1], axis=1)[:, ::-1]
        up_to = alike.cumsum(dim=1, dtype=torch.int32)
        self._places = alike.nonzero()[:, 1].view(len(alike), self.relevant)
        begin = torch.from_numpy(first).gather(1, self._places).long()
        self._below = up_to.gather(1, torch.from_numpy(last.copy())).long()
        """Relevant rows that are no more similar than each row, int64 [Q, N]."""
        self._rows = (count - begin).double()
        """Rows that are at least as similar as each relevant one, float64 [Q, R]."""
        self._hits = (self.relevant - up_to.gather(1, begin) + alike.gather(1, begin).int()).double()
        """Relevant ones among them, likewise."""

    @property
    def precision(self) -> Tensor:
        """Average precisions, float64 [Q]."""
        return (self._hits / self._rows).mean(dim=1)

    def gained(self) -> Tensor:
        """What the average precisions gain without each row: float64 [Q, N], 0 for the query itself.

        Without an irrelevant row all relevant ones that are no more similar move up by one; without a relevant one they
        also lose a hit, and it is no part of the mean. A query whose only relevant row is gone loses all.
        """
        part, up = self._hits / self._rows, (self._rows - 1).clamp_min(1)
        fewer = (self._hits - 1) / up
        gained = _before(self._hits / up - part).gather(1, self._below) / self.relevant
        moved = _before(fewer - part).gather(1, self._below.gather(1, self._places)) - fewer
        left = (part.sum(dim=1, keepdim=True) + moved) / max(self.relevant - 1, 1)
        left = left - part.mean(dim=1, keepdim=True) if self.relevant > 1 else -part
        gained = gained.scatter_(1, self._places, left)
        gained[:, 0] = 0.0  # as a query it is counted by itself
        return gained


def _before(values: Tensor) -> Tensor:
    """Sums of the first 0, 1, ... of the values in each row: [Q, R + 1] of [Q, R]."""
    return F.pad(values.cumsum(dim=1), (1, 0))
