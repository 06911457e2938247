"""A classifier trained on real labels, which judges whether candidates still show what their anchors show."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from clsp import files
from clsp.encoders.backbone import feature_count
from clsp.encoders.export import EncoderSpec
from clsp.encoders.features import encode_images
from clsp.evaluation.classifier import fit_classifier
from clsp.evaluation.task import Task
from clsp.images.imageset import Images, subset
from clsp.positives.bank import PositiveBank

_ANCHORS, _BATCH, _IMAGES = 1000, 128, 20_000


def judge_candidates(
    bank: PositiveBank,
    images: Images,
    task: Task,
    spec: EncoderSpec,
    *,
    epochs: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Train a classifier of the encoder's architecture on real labels and let it judge a sample of the bank.

    Args:
        bank: the candidates.
        images: the data that their anchors are of.
        task: real images and labels.
        spec: the architecture.
        epochs: passes over the real images.
        seed: names the weights and all draws.
        device: where the classifier works.

    Returns:
        ``classifier_accuracy`` (on the test images), ``classifier_agreement`` (fraction of candidates that it gives the
        anchor's label) and ``classifier_confidence``, each with value and meaning; nothing where no anchor has one.
    """
    labels = images.train.labels
    assert labels is not None and task.test.labels is not None
    known = np.flatnonzero(labels[bank.ids] >= 0)
    if not len(known):
        return {}
    classifier = _train(task, spec, epochs=epochs, seed=seed, device=device)
    rows = known[subset(len(known), _ANCHORS, seed=seed + 6)]
    candidates = bank.array(rows)
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    accuracy = encode_images(classifier, task.test.images, mean, std).argmax(dim=1).numpy() == task.test.labels
    scores = encode_images(classifier, candidates.reshape(-1, *candidates.shape[2:]), mean, std).softmax(dim=1)
    agrees = scores.argmax(dim=1).numpy() == labels[bank.ids[rows]].repeat(bank.candidates)

    def entry(value: Any, meaning: str) -> dict[str, Any]:
        return {"value": round(float(value), 4), "meaning": meaning}

    return {
        "classifier_accuracy": entry(
            accuracy.mean(), "accuracy on real test images of a classifier trained on real labels"
        ),
        "classifier_agreement": entry(
            agrees.mean(), "fraction of candidates to which that classifier gives the anchor's label"
        ),
        "classifier_confidence": entry(scores.max(dim=1).values.mean(), "its mean confidence on the candidates"),
    }


def _train(task: Task, spec: EncoderSpec, *, epochs: int, seed: int, device: torch.device | str) -> nn.Module:
    """Train backbone and classifier with SGD and one cosine, on lightly augmented real images."""
    torch.manual_seed(seed)
    backbone = spec.build()
    model = nn.Sequential(backbone, nn.Linear(feature_count(backbone), task.classes)).to(device).train()
    rows = subset(len(task.train), _IMAGES, seed=seed)
    assert task.train.labels is not None
    batch_size = min(_BATCH, len(rows))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    fit_classifier(
        model,
        files.Rows(task.train.images, rows),
        task.train.labels[rows],
        spec,
        optimizer,
        steps=epochs * (len(rows) // batch_size),
        batch_size=batch_size,
        seed=seed,
        title="classifier of real labels",
    )
    return model.eval()
