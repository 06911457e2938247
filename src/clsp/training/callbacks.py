"""What looks on at a pretraining: health of the embedding, neighbours, the online kNN. `pretrain` takes more."""

from __future__ import annotations

import torch

from clsp import console, distributed
from clsp.engine.fit import Callback
from clsp.evaluation.online import OnlineKNN
from clsp.evaluation.spread import COLLAPSED
from clsp.training.health import Health, diagnose, health
from clsp.training.step import Pretraining, Seen

_SETTLED, _EARLY = 50, 20
"""Steps before which an embedding is not judged by its state alone, and before which not by its fall: every network
starts with all images close together."""
_FALLEN = 0.5
"""Fraction of its largest spread so far below which an embedding has fallen."""


class HealthCheck(Callback[Seen]):
    """Logs how the embedding fills its sphere, and says once in plain words that it has collapsed."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._largest = 0.0

    def on_step(self, training: Pretraining, number: int, output: Seen) -> dict[str, float]:
        """Measure the embeddings of the two views."""
        state = health(output.output.first, output.output.second)
        count, width = output.output.first.shape
        judged = self._to_be_judged(state, number, training.steps)
        advice = diagnose(state, min(count - 1, width)) if judged else None
        remedy = advice.rpartition(": ")[2] if advice else ""  # without the number, which differs each time
        if advice and remedy not in self._told and distributed.rank() == 0:
            self._told.add(remedy)
            console.say(f"warning: step {number}: {advice}")
        return state.metrics()

    def _to_be_judged(self, state: Health, number: int, steps: int) -> bool:
        """After a fifth of the training; before a tenth of it already where the images come together."""
        self._largest = max(self._largest, state.feature_std)
        fallen = state.feature_std < min(_FALLEN * self._largest, COLLAPSED)
        return number > max(steps // 5, _SETTLED) or (fallen and number >= max(steps // 20, _EARLY))


class NeighbourCheck(Callback[Seen]):
    """Logs how often a neighbour is the sample itself and, where labels exist, how often it has the same class."""

    def on_step(self, training: Pretraining, number: int, output: Seen) -> dict[str, float]:
        """Look at the neighbours that served as positives; nothing where there are none."""
        found, ids, labels = output.output.neighbours, output.views.ids, training.labels
        if found is None and training.method.neighbour is not None:
            found = training.method.neighbour.found
        if found is None:
            return {}
        metrics = {"neighbour_is_itself": float((found == ids).float().mean())}
        if labels is not None:
            # A memory that was taken over may know images that are not trained on now: theirs are not looked at.
            table = torch.full((len(training.material.images),), -1, device=ids.device)
            table[training.ids] = labels
            theirs, own = table[found.clamp_min(0)], table[ids]
            known = (found >= 0) & (theirs >= 0) & (own >= 0)
            metrics["neighbour_same_class"] = float(((theirs == own) & known).sum() / known.sum().clamp_min(1))
        return metrics


class OnlineCheck(Callback[Seen]):
    """Logs the accuracy of a kNN on held-out train images at the end of some epochs.

    Args:
        knn: the images; None: there are no labels.
        every: epochs between two readings; 0: none.
    """

    def __init__(self, knn: OnlineKNN | None, every: int) -> None:
        self._knn, self._every = knn, every

    def on_step_end(self, training: Pretraining, number: int) -> dict[str, float]:
        """Read it when so many epochs more are over, and after the last step."""
        if self._knn is None or not self._every:
            return {}
        if number % (self._every * training.steps_per_epoch) and number != training.steps:
            return {}
        return {"knn": self._knn.accuracy(training.method.encoder, training.mean, training.std)}
