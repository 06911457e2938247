"""``clsp classify`` and ``clsp predict``: a classifier from labels of which some may be wrong, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsp.engine.hardware import HardwareConfig, device_of
from clsp.tasks.classify.config import ClassifyRecipe
from clsp.tasks.classify.model import load_classifier
from clsp.tasks.classify.page import article
from clsp.tasks.classify.stage import classify as make
from clsp.tasks.predictions import Predictions, every_image
from clsp.tasks.task import Found, Place, Task


def _lines(found: Found, folder: Path) -> list[str]:
    """How good it is, and how many labels it doubts."""
    accuracy, listed = found["accuracy"], found["suspects"]
    lines = [
        f"accuracy: {accuracy['top1']:.2f} % (95 % interval {accuracy['low']:.2f} to {accuracy['high']:.2f}), "
        f"{accuracy['protocol']}",
        f"labels:   {listed['count']:,} of {listed['of']:,} are probably wrong: {folder / 'suspects.csv'}",
    ]
    if listed.get("by_heart"):
        lines.append(f"note:     {listed['by_heart']}")
    rated = listed.get("rated")
    return lines if rated is None else [*lines, f"          {_rated(rated)}"]


def _rated(rated: dict[str, Any]) -> str:
    """How good the list is, where the right labels are known."""
    parts = [f"{100 * rated['wrong']:.1f} % of the labels are wrong"]
    if rated["precision"] is not None:
        parts.append(f"{100 * rated['precision']:.1f} % of the list are")
    if rated["recall"] is not None:
        parts.append(f"it has {100 * rated['recall']:.1f} % of them")
    return ", ".join(parts)


TASK = Task(
    command="classify",
    name="classify",
    recipe=ClassifyRecipe,
    make=make,
    lines=_lines,
    article=article,
    following="clsp predict --classifier {} --data NEW_FOLDER --out labels.csv",
)


def classify(
    data: Place,
    out: Place,
    *,
    encoder: Place | None = None,
    positives: Place | None = None,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Train a classifier on labels of which some may be wrong; return its folder, see `clsp.tasks.task.Task.run`.

    Args:
        data: a SOURCE with labels.
        out: the classifier's folder.
        encoder: a pretrained encoder's folder, a run, or ``timm``; None: random weights.
        positives: a bank's folder or another source, whose candidates may be neighbours.
        recipe: a recipe of the task, or a file.
        settings: by their names, such as ``{"classify.consistency.weight": 0.3}``.
    """
    return TASK.run(data, out, encoder=encoder, positives=positives, recipe=recipe, settings=settings)


def predict(classifier: Place, data: Place) -> Predictions:
    """Classify every image of a SOURCE, the train part first; its labels, if it has any, are not looked at.

    Args:
        classifier: the folder of a classifier.
        data: a SOURCE.

    Raises:
        UserError: the classifier or the data cannot be read.
    """
    saved = load_classifier(Path(classifier))
    names, pixels = every_image(str(data), saved.spec, Path(classifier))
    return Predictions(names, saved.classes, saved.probabilities(pixels, device=device_of(HardwareConfig())))
