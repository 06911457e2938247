"""The labels that are probably wrong: those that the training, on average, believed less than another class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from clsp.text import csv_text

RULE = (
    "A label is listed where its margin, the label's logit less the largest other one, was below 0 on average over the "
    "visits of the training's second half (the area under the margin: Pleiss et al., arXiv 2001.10528); the smallest "
    "margin first. The suggestion is what the finished classifier takes the image for."
)

_BY_HEART, _BEYOND = 0.98, 0.1
"""Fraction of the train labels that a classifier gives itself, and how far that lies above its accuracy on other
images, from which on it doubts no label because it has learnt them all."""


def by_heart(given: np.ndarray, probabilities: np.ndarray, accuracy: float) -> str | None:
    """Say that the list is of little worth, as the labels were learnt by heart; None where they were not.

    Args:
        given: the labels learnt from, int64 [N].
        probabilities: of the finished classifier for these images, float [N, C].
        accuracy: on other images, in percent.
    """
    believed = float((probabilities.argmax(axis=1) == given).mean())
    if believed < _BY_HEART or believed - accuracy / 100 < _BEYOND:
        return None
    return (
        f"The classifier gives {100 * believed:.1f} % of the train images their label, and is right on "
        f"{accuracy:.1f} % of the test images: it has learnt the labels by heart, the wrong ones, too, and the list "
        "may lack most of these. Choose fewer --classify.epochs, or --classify.consistency.weight 0.9 "
        "--classify.consistency.neighbours 100"
    )


@dataclass(frozen=True)
class Suspects:
    """The list, most suspicious first."""

    places: np.ndarray
    """Places among the images trained on, int64 [M]."""
    margins: np.ndarray
    """Their margins, ascending, float64 [M]."""
    suggested: np.ndarray
    """What the finished classifier takes them for, int64 [M]."""
    confidence: np.ndarray
    """How sure it is of that, in [0, 1], float64 [M]."""

    @classmethod
    def of(cls, margins: np.ndarray, probabilities: np.ndarray) -> Suspects:
        """List the labels whose margin is below 0.

        Args:
            margins: of each label, averaged over the training, float [N].
            probabilities: of the finished classifier, float [N, C].
        """
        order = np.argsort(margins, kind="stable")
        places = order[margins[order] < 0]
        chosen = probabilities[places]
        return cls(places, margins[places], chosen.argmax(axis=1), chosen.max(axis=1, initial=0.0).astype(np.float64))

    def __len__(self) -> int:
        return len(self.places)

    def table(self, names: list[str], given: np.ndarray, classes: tuple[str, ...]) -> str:
        """Write it as CSV: ``name``, ``label``, ``suggested``, ``confidence``, ``margin``.

        Args:
            names: of the images trained on, N.
            given: their labels, int64 [N].
            classes: names of the classes.
        """
        rows = zip(self.places, self.margins, self.suggested, self.confidence, strict=True)
        return csv_text(
            ["name", "label", "suggested", "confidence", "margin"],
            (
                (names[place], classes[given[place]], classes[suggested], f"{sure:.4f}", f"{margin:.4f}")
                for place, margin, suggested, sure in rows
            ),
        )

    def rated(self, margins: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
        """Rate the list where it is known which labels are wrong.

        Args:
            margins: of all labels, float [N].
            wrong: bool [N].

        Returns:
            ``precision`` and ``recall`` of the list (None without any), ``average_precision`` of the order of all
            labels, and ``wrong``, the fraction that is.
        """
        right = int(wrong[self.places].sum())
        there = int(wrong.sum())
        return {
            "precision": right / len(self) if len(self) else None,
            "recall": right / there if there else None,
            "average_precision": float(average_precision_score(wrong, -margins)) if there else None,
            "wrong": float(wrong.mean()),
        }
