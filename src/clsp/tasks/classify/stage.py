"""The stage that trains a classifier, measures it, and lists the labels that are probably wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from clsp import files
from clsp.encoders.export import EncoderSpec
from clsp.engine.pixels import Pixels
from clsp.engine.stage import Stage
from clsp.errors import UserError
from clsp.evaluation.apart import fraction_of_each, groups_of
from clsp.evaluation.balance import rate
from clsp.evaluation.findings.pictures import draw
from clsp.evaluation.measure import records
from clsp.images.imageset import Images, Split
from clsp.tasks.classify.config import ClassifyConfig, ClassifyRecipe
from clsp.tasks.classify.labels import Labels, train_labels
from clsp.tasks.classify.model import HEAD, Saved, save_classifier
from clsp.tasks.classify.suspects import RULE, Suspects, by_heart
from clsp.tasks.classify.training import Classifier, Classifying
from clsp.tasks.job import Job, Keep, train
from clsp.tasks.start import Beginning
from clsp.tasks.views import Drawing

MAKES = (HEAD, "metrics.json", "suspects.csv", "suspects.png")
"""What the stage makes besides what every training does."""

TEST = 0.1
"""Fraction of each class that is tested on where the source has no test part."""
_SHOWN, _THUMBNAIL = 60, 96
"""Labels whose images are drawn, and their side in pixels."""


@dataclass(frozen=True)
class Data:
    """Images to learn from and images to test on."""

    labels: Labels
    train: Split
    """The images that are learnt from, N."""
    test: Split
    note: str
    """Where the test images come from."""


def divided(images: Images, config: ClassifyConfig, *, seed: int) -> Data:
    """Choose what is learnt from and what is tested on; without a test part, a tenth of each class in whole groups."""
    labels = train_labels(images, config.noise, count=config.images, seed=seed)
    if images.test is not None and images.test.labels is not None:
        known = np.flatnonzero(images.test.labels >= 0)
        test = images.test.rows(known)
        return Data(labels, images.train.rows(labels.ids), test, f"the source's {len(test)} test images")
    assert images.train.labels is not None
    groups = groups_of(images.train, labels.ids)
    apart = fraction_of_each(images.train.labels[labels.ids], TEST, groups)
    if not apart.any():
        two = "two" if groups is None else "two groups (column 'group')"
        raise UserError(
            f"{images.source} has no test part, and no class has {two} of the {len(labels.ids)} images, so that "
            "none can be set apart; give more labelled images"
        )
    test, learnt = images.train.rows(labels.ids[apart]), labels.ids[~apart]
    right = None if labels.right is None else labels.right[~apart]
    kept = replace(labels, ids=learnt, given=labels.given[~apart], right=right)
    note = f"{len(test)} images that were set apart from train, a tenth of each class (the source has no test part)"
    note += "" if groups is None else "; images of one group stay together"
    note += "" if labels.right is not None else "; their labels may be as wrong as the others"
    return Data(kept, images.train.rows(learnt), test, note)


def classify(job: Job[ClassifyRecipe]) -> Stage:
    """Train a classifier into the job's folder, measure it, and list the labels that are probably wrong.

    Args:
        job: labelled images. Candidates may be neighbours; they have no label.

    Raises:
        UserError: there are too few labels, settings do not go together, or as `clsp.tasks.job.train` says.
    """
    config = job.recipe.classify
    data = divided(job.images, config, seed=job.recipe.seed)
    if job.positives is not None and not config.consistency.weight:
        raise UserError("--positives: candidates serve as neighbours; give --classify.consistency.weight, such as 0.3")
    about: dict[str, Any] = {"title": "classifier", "section": "classify", "makes": MAKES, "count": len(data.train)}
    return train(job, config, build=partial(build, job, data), **about)


def build(job: Job[ClassifyRecipe], data: Data, beginning: Beginning) -> tuple[Classifying, Keep]:
    """Make the training with its first weights, and what keeps its result."""
    labels, config, seed = data.labels, job.recipe.classify, job.recipe.seed
    spec = beginning.described(job.images, labels.ids)
    classifier = Classifier(beginning.build(config.backbone), len(labels.classes))
    pixels = Pixels(job.images.train.images, labels.ids)
    drawing, candidates = Drawing(spec, config.augment, seed=seed), job.candidates(pixels, labels.ids)
    given: dict[str, Any] = {"pretrained": beginning.pretrained, "candidates": candidates}
    training = Classifying(classifier, config, drawing, pixels, labels.ids, labels.given, **given)
    return training, partial(_keep, job.folder, training, spec, data)


def _keep(folder: Path, training: Classifying, spec: EncoderSpec, data: Data) -> dict[str, Any]:
    """Write the classifier, what it is worth, and the labels that it doubts; return the stage's facts."""
    labels, classifier = data.labels, training.classifier
    save_classifier(folder, classifier, spec, labels.classes, {"stage": "classifier", "seed": training.seed})
    saved = Saved(nn.Sequential(classifier.encoder, classifier.head), spec, labels.classes)
    device = training.drawing.device
    assert data.test.labels is not None
    title = {"name": "accuracy", "title": "classifier", "protocol": f"of the last epoch, on {data.note}"}
    measures = rate(saved.probabilities(data.test.images, device=device), data.test.labels, **title)
    probabilities = saved.probabilities(data.train.images, device=device)
    suspects = Suspects.of(training.margins, probabilities)
    names = [str(name) for name in data.train.names]
    files.write_text(folder / "suspects.csv", suspects.table(names, labels.given, labels.classes))
    listed = _listed(folder / "suspects.png", suspects, data, names)
    listed["by_heart"] = by_heart(labels.given, probabilities, measures[0].value)
    if labels.wrong is not None:
        listed["rated"] = suspects.rated(training.margins, labels.wrong)
    found = {**records(measures), "suspects": listed, "classes": list(labels.classes), "test": data.note}
    files.write_json(folder / "metrics.json", found)
    facts = {one.name: one.value for one in measures}
    return {**facts, "suspects": len(suspects), "images": len(labels.given)}


def _listed(path: Path, suspects: Suspects, data: Data, names: list[str]) -> dict[str, Any]:
    """What metrics.json says of the list; the first of it are drawn."""
    labels, shown = data.labels, suspects.places[:_SHOWN]
    sheet = draw(path, data.train.images, [shown], side=_THUMBNAIL) if len(shown) else {}
    first = zip(shown, suspects.suggested, suspects.confidence, strict=False)
    told = [
        {
            "name": names[place],
            "label": labels.classes[labels.given[place]],
            "suggested": labels.classes[suggested],
            "confidence": round(float(sure), 4),
        }
        for place, suggested, sure in first
    ]
    return {"count": len(suspects), "of": len(labels.given), "rule": RULE, "sheet": sheet, "shown": told}
