"""The online kNN: how good the encoder is while it trains, read on held-out train images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from clsp.encoders.features import encode_images
from clsp.engine.neighbours import nearest
from clsp.evaluation.apart import groups_of
from clsp.evaluation.evaluators.knn import vote
from clsp.images.imageset import Split, subset

_REFERENCES, _QUERIES, _K, _TEMPERATURE = 4000, 1000, 20, 0.07


@dataclass(frozen=True)
class OnlineKNN:
    """Labelled train images, parted into references and queries. Test images play no part while training."""

    references: np.ndarray
    queries: np.ndarray
    reference_labels: Tensor
    query_labels: Tensor
    classes: int

    @classmethod
    def of(cls, train: Split, *, seed: int) -> OnlineKNN | None:
        """Take at most 4,000 references and 1,000 queries from ``train``; None where it has no labels."""
        if train.labels is None:
            return None
        labelled = np.flatnonzero(train.labels >= 0)
        if len(labelled) < 10:
            return None
        chosen = labelled[subset(len(labelled), _REFERENCES + _QUERIES, seed=seed + 5)]
        groups = groups_of(train, chosen)  # of a group that is asked for nothing is found among the references
        is_query = (np.arange(len(chosen)) if groups is None or not groups.any() else groups) % 5 == 0
        parts = [
            (np.asarray(train.images[rows]), torch.from_numpy(train.labels[rows]))
            for rows in (chosen[~is_query], chosen[is_query])
        ]
        return cls(parts[0][0], parts[1][0], parts[0][1], parts[1][1], int(train.labels.max()) + 1)

    def accuracy(self, encoder: nn.Module, mean: Tensor, std: Tensor) -> float:
        """Accuracy in percent with k = 20 and temperature 0.07 (fixed: nothing is chosen on it)."""
        features = [
            encode_images(encoder, part, mean.flatten(), std.flatten()) for part in (self.references, self.queries)
        ]
        k = min(_K, len(self.references))
        similarities, indices = nearest(features[1], features[0], k)
        scores = vote(similarities, self.reference_labels[indices], self.classes, k=k, temperature=_TEMPERATURE)
        return 100.0 * float((scores.argmax(dim=1) == self.query_labels).float().mean())
