"""Retrieval: mean average precision by cosine similarity, exact, in chunks with bounded memory."""

from __future__ import annotations

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
    found = average_precisions(features, torch.from_numpy(labels), torch.from_numpy(rows)).numpy()
    relevant, others = sizes[labels[rows]] - 1, len(labels) - 1
    chance, alike = mean_at_random(relevant, others), float(relevant.mean()) / others
    protocol = (
        f"mean average precision over {len(rows)} queries, each a test image that ranks all {others} others "
        "by the cosine similarity of frozen features; those with its label count as found (a random order reaches "
        f"about {100 * chance:.1f} %, features that are all alike {100 * alike:.1f} %); of {note}"
    )
    value = round(100 * float(found.mean()), 2)
    title = "retrieval"
    return [Measure(name=title, title=title, quantity="mAP", metric="map", value=value, protocol=protocol, each=found)]


def average_precisions(features: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """Average precision of each query's ranking of all other rows by cosine similarity.

    It is the mean, over the rows that share the query's label, of the fraction of relevant rows among all that are at
    least as similar. So equally similar rows have one rank, and the order of the rows plays no part.

    Args:
        features: float [N, D].
        labels: int64 [N].
        queries: rows that search, int64 [Q]; each has another row with its label.

    Returns:
        float64 [Q] in (0, 1].
    """
    unit, rows = F.normalize(features, dim=1), max(_CHUNK // len(features), 1)
    found = torch.empty(len(queries), dtype=torch.float64)
    for part in labels[queries].argsort().split(rows):  # places in ``queries``, those of one label together
        found[part] = _of_chunk(unit, labels, queries[part])
    return found


def _of_chunk(unit: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """Average precisions of a few queries among the rows of ``unit`` [N, D]: float64 [Q]."""
    similarities = unit[queries] @ unit.T
    similarities[torch.arange(len(queries)), queries] = -torch.inf  # a query ranks itself last, and is then left out
    ordered, asked = _sorted(similarities), labels[queries]
    found = torch.empty(len(queries), dtype=torch.float64)
    for label in asked.unique():  # queries of one label have the same relevant rows
        own = (asked == label).nonzero()[:, 0]
        relevant = _sorted(similarities[own[:, None], (labels == label).nonzero()[:, 0]])[:, 1:].contiguous()
        precisions = _at_least(relevant, relevant).double() / _at_least(ordered[own], relevant)
        found[own] = precisions.mean(dim=1)
    return found


def _sorted(values: Tensor) -> Tensor:
    """Sort each row, rising; numpy's sort is many times faster than torch's, which keeps the places as well."""
    return torch.from_numpy(np.sort(values.numpy(), axis=1))


def _at_least(ordered: Tensor, values: Tensor) -> Tensor:
    """How many in each row of ``ordered`` (rising, [Q, N]) are at least each of ``values`` [Q, M]: int64 [Q, M]."""
    return ordered.shape[1] - torch.searchsorted(ordered, values)
