"""Weighted kNN by cosine, k and temperature chosen on held-out train images."""

from __future__ import annotations

import torch

from clsp.engine.neighbours import nearest
from clsp.evaluation import vote
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluator import Evaluator
from clsp.evaluation.measure import Measure, accuracy
from clsp.evaluation.task import Task
from clsp.evaluation.trained import Trained


class KNN(Evaluator):
    """Top-1 of the nearest train images' vote."""

    settings: EvaluateConfig
    place = 20

    def __call__(self, trained: Trained, data: Task) -> list[Measure]:
        """Choose k and temperature on the held-out part, and let all train images vote on the test images."""
        train, settings = trained.train, self.settings
        labels, held = torch.from_numpy(data.train.column("label")), torch.from_numpy(data.held)
        k, temperature = vote.choose(train, labels, data.classes, held, settings.neighbours, settings.temperatures)
        similarities, indices = nearest(trained.test, train, min(k, len(train)))
        scores = vote.vote(similarities, labels[indices], data.classes, k=k, temperature=temperature).numpy()
        protocol = (
            f"weighted kNN by cosine over {len(labels)} labelled train images, k = {k} and temperature {temperature:g} "
            f"chosen on {int(data.held.sum())} of them; tested on {data.note}"
        )
        return [accuracy(scores, data.test.column("label"), name="knn", title="kNN", protocol=protocol)]
