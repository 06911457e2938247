"""Weighted k-nearest-neighbour classification by cosine similarity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clsp.engine.neighbours import nearest
from clsp.evaluation.balance import rate
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluator import Evaluator
from clsp.evaluation.measure import Measure
from clsp.evaluation.task import Task
from clsp.evaluation.trained import Trained


class KNN(Evaluator):
    """Top-1 of the nearest train images' vote; of unequal classes their mean as well."""

    settings: EvaluateConfig
    place = 20

    def __call__(self, trained: Trained, data: Task) -> list[Measure]:
        """Choose k and temperature on the held-out part, and let all train images vote on the test images."""
        train, settings = trained.train, self.settings
        labels, held = torch.from_numpy(data.train.column("label")), torch.from_numpy(data.held)
        k, temperature = choose(train, labels, data.classes, held, settings.neighbours, settings.temperatures)
        similarities, indices = nearest(trained.test, train, min(k, len(train)))
        scores = vote(similarities, labels[indices], data.classes, k=k, temperature=temperature).numpy()
        protocol = (
            f"weighted kNN by cosine over {len(labels)} labelled train images, k = {k} and temperature {temperature:g} "
            f"chosen on {int(data.held.sum())} of them; tested on {data.note}"
        )
        return rate(scores, data.test.column("label"), name="knn", title="kNN", protocol=protocol)


def vote(similarities: Tensor, labels: Tensor, classes: int, *, k: int, temperature: float) -> Tensor:
    """Let the k nearest vote, each with weight exp(similarity / temperature) (Wu et al., arXiv 1805.01978).

    Args:
        similarities: float [Q, K], falling, K >= k.
        labels: the neighbours' labels, int64 [Q, K].
        classes: number of classes.
        k: neighbours that vote.
        temperature: > 0.

    Returns:
        Scores float [Q, classes].
    """
    # Relative to the nearest: the same vote, and no overflow at low temperatures.
    weights = ((similarities[:, :k] - similarities[:, :1]) / temperature).exp()
    scores = similarities.new_zeros(len(similarities), classes)
    return scores.scatter_add_(1, labels[:, :k], weights)


def choose(
    features: Tensor,
    labels: Tensor,
    classes: int,
    held: Tensor,
    ks: Sequence[int],
    temperatures: Sequence[float],
) -> tuple[int, float]:
    """Choose k and temperature by the accuracy on the rows ``held`` (bool [N]) against the others."""
    references, own = features[~held], labels[~held]
    allowed = sorted({min(k, len(references)) for k in ks})
    similarities, indices = nearest(features[held], references, allowed[-1])

    def accuracy(setting: tuple[int, float]) -> float:
        scores = vote(similarities, own[indices], classes, k=setting[0], temperature=setting[1])
        return float((scores.argmax(dim=1) == labels[held]).float().mean())

    return max(((k, t) for k in allowed for t in temperatures), key=accuracy)
