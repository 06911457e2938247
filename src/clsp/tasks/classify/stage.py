"""The stage that trains a classifier, measures it, and lists the labels that are probably wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsp import distributed, files
from clsp.encoders.export import EncoderSpec
from clsp.engine.fit import Fit
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import launch
from clsp.engine.pixels import Pixels
from clsp.engine.stage import Stage, stage
from clsp.errors import UserError
from clsp.evaluation.balance import rate
from clsp.evaluation.findings.pictures import draw
from clsp.evaluation.measure import records
from clsp.evaluation.task import fraction_of_each
from clsp.images.imageset import Images, Split
from clsp.positives.bank import PositiveBank
from clsp.positives.source import Draw, Material
from clsp.positives.sources import SOURCES
from clsp.tasks.classify.config import ClassifyConfig
from clsp.tasks.classify.labels import Labels, train_labels
from clsp.tasks.classify.model import Saved, save_classifier
from clsp.tasks.classify.suspects import RULE, Suspects
from clsp.tasks.classify.training import Classifier, Classifying
from clsp.tasks.start import Beginning, find_beginning, with_statistics

MAKES = (
    "encoder.safetensors", "head.safetensors", "config.json", "snippet.py", "metrics.json", "metrics.jsonl",
    "suspects.csv", "suspects.png", "checkpoints/last.safetensors",
)  # fmt: skip
"""What the stage makes."""

TEST = 0.1
"""Fraction of each class that is tested on where the source has no test part."""
_THUMBNAIL = 96


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
    """Choose what is learnt from and what is tested on; without a test part, a tenth of each class is set apart."""
    labels = train_labels(images, config.noise, count=config.images, seed=seed)
    if images.test is not None and images.test.labels is not None:
        known = np.flatnonzero(images.test.labels >= 0)
        test = images.test.rows(known)
        return Data(labels, images.train.rows(labels.ids), test, f"the source's {len(test)} test images")
    assert images.train.labels is not None
    apart = fraction_of_each(images.train.labels[labels.ids], TEST)
    test, learnt = images.train.rows(labels.ids[apart]), labels.ids[~apart]
    right = None if labels.right is None else labels.right[~apart]
    kept = replace(labels, ids=learnt, given=labels.given[~apart], right=right)
    note = f"{len(test)} images that were set apart from train, a tenth of each class (the source has no test part)"
    note += "" if labels.right is not None else "; their labels may be as wrong as the others"
    return Data(kept, images.train.rows(learnt), test, note)


def classify(
    images: Images,
    config: ClassifyConfig,
    hardware: HardwareConfig,
    *,
    seed: int,
    folder: Path,
    encoder: str | None = None,
    bank: PositiveBank | None = None,
) -> Stage:
    """Train a classifier into ``folder``.

    Args:
        images: labelled images.
        config: the training.
        hardware: devices.
        seed: names the initial weights and all draws.
        folder: gets encoder and head, ``metrics.json`` and ``suspects.csv``.
        encoder: what the encoder begins as, see `clsp.tasks.start.find_beginning`.
        bank: candidates, which may be neighbours (they have no label); None: there are none.

    Raises:
        UserError: there are too few labels, the bank belongs to other data, a loss became non-finite, or the folder
            belongs to other settings.
    """
    launch(hardware)
    beginning, data = find_beginning(encoder, images, config.backbone), divided(images, config, seed=seed)
    _require_together(config, data, bank)
    made = beginning.made
    if bank is not None:
        bank.require_data(images.fingerprint, images.source)
        made |= {"bank": bank.fingerprint}
    about: dict[str, Any] = {"data": images.fingerprint, "made": made, "makes": MAKES}
    with stage("classifier", folder, config, seed=seed, **about) as current:
        if current.finished:
            return current
        torch.manual_seed(seed)
        training, spec = build(images, data, config, beginning, bank, seed=seed)
        Fit(
            folder=folder,
            title="classifier",
            precision=config.precision,
            hardware=hardware,
            checkpoint_minutes=config.checkpoint_minutes,
            on_checkpoint=current.keep_time,
            log_every=config.log_every,
            batch_setting="classify.batch_size",
        ).run(training)
        if distributed.rank() == 0:
            current.facts = _keep(folder, training, spec, data, config)
    return current


def _require_together(config: ClassifyConfig, data: Data, bank: PositiveBank | None) -> None:
    """Refuse settings that do not go together.

    Raises:
        UserError: names the option.
    """
    count = len(data.train)
    if config.batch_size > count:
        raise UserError(f"--classify.batch_size {config.batch_size} is larger than the {count} labelled images")
    if bank is not None and not config.consistency.weight:
        raise UserError("--positives: candidates serve as neighbours; give --classify.consistency.weight, such as 0.3")


def build(
    images: Images,
    data: Data,
    config: ClassifyConfig,
    beginning: Beginning,
    bank: PositiveBank | None,
    *,
    seed: int,
) -> tuple[Classifying, EncoderSpec]:
    """Make the training with its first weights, and the spec of its encoder."""
    labels, spec = data.labels, with_statistics(beginning, images, data.train.images)
    classifier = Classifier(beginning.build(config.backbone), len(labels.classes))
    held = Pixels(images.train.images, labels.ids)
    candidates = None
    if bank is not None:
        material = Material(held, labels.ids, None, images.train.images, images.train.names, bank)
        candidates = partial(_candidates, material, seed)
    statistics = torch.tensor(spec.mean), torch.tensor(spec.std)
    options: dict[str, Any] = {"seed": seed, "pretrained": beginning.pretrained, "candidates": candidates}
    return Classifying(classifier, config, held, labels.ids, labels.given, *statistics, **options), spec


def _candidates(material: Material, seed: int, device: torch.device) -> Draw:
    return SOURCES["bank"]().build(material, seed=seed, device=device)


def _keep(folder: Path, training: Classifying, spec: EncoderSpec, data: Data, config: ClassifyConfig) -> dict[str, Any]:
    """Write the classifier, what it is worth, and the labels that it doubts; return the stage's facts."""
    labels, classifier = data.labels, training.classifier
    save_classifier(folder, classifier, spec, labels.classes, {"stage": "classifier", "seed": training.seed})
    model = torch.nn.Sequential(classifier.encoder, classifier.head)
    saved = Saved(model, spec, labels.classes)
    device = training.mean.device
    assert data.test.labels is not None
    title = {"name": "accuracy", "title": "classifier", "protocol": f"of the last epoch, on {data.note}"}
    measures = rate(saved.probabilities(data.test.images, device=device), data.test.labels, **title)
    probabilities = saved.probabilities(data.train.images, device=device)
    margins = training.margins
    suspects = Suspects.of(margins, probabilities)
    names = [str(name) for name in data.train.names]
    files.write_text(folder / "suspects.csv", suspects.table(names, labels.given, labels.classes))
    shown = suspects.places[: config.shown]
    sheet = {}
    if len(shown):
        sheet = draw(folder / "suspects.png", data.train.images, [shown], side=_THUMBNAIL)
    first = zip(shown, suspects.suggested, suspects.confidence, strict=False)
    listed: dict[str, Any] = {
        "count": len(suspects),
        "of": len(labels.given),
        "rule": RULE,
        "sheet": sheet,
        "shown": [
            {
                "name": names[place],
                "label": labels.classes[labels.given[place]],
                "suggested": labels.classes[suggested],
                "confidence": round(float(sure), 4),
            }
            for place, suggested, sure in first
        ],
    }
    if labels.wrong is not None:
        listed["rated"] = suspects.rated(margins, labels.wrong)
    found = {**records(measures), "suspects": listed, "classes": list(labels.classes), "test": data.note}
    files.write_json(folder / "metrics.json", found)
    facts = {one.name: one.value for one in measures}
    return {**facts, "suspects": len(suspects), "images": len(labels.given)}
