"""A classifier trained on real labels, which judges whether candidates still show what their anchors show."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from clsp import console
from clsp.encoders.backbone import feature_count
from clsp.encoders.export import EncoderSpec
from clsp.engine.batches import Batches
from clsp.evaluation.evaluate import Task
from clsp.evaluation.features import encode_images
from clsp.images.augment import augment
from clsp.images.config import AugmentConfig
from clsp.images.imageset import Images, subset
from clsp.positives.bank import PositiveBank

_ANCHORS, _BATCH, _IMAGES = 1000, 128, 20_000


def judge_candidates(
    bank: PositiveBank, images: Images, task: Task, spec: EncoderSpec, *, epochs: int, seed: int
) -> dict[str, Any]:
    """Train a classifier of the encoder's architecture on real labels and let it judge a sample of the bank.

    Returns:
        ``classifier_accuracy`` (on the test images), ``classifier_agreement`` (share of candidates that it gives the
        anchor's label) and ``classifier_confidence``, each with value and meaning.
    """
    classifier = _train(task, spec, epochs=epochs, seed=seed)
    labels = images.train.labels
    assert labels is not None and task.test.labels is not None
    known = np.flatnonzero(labels[bank.ids] >= 0)
    rows = known[subset(len(known), _ANCHORS, seed=seed + 6)]
    candidates = bank.array(rows)
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    accuracy = _predict(classifier, task.test.images, mean, std).argmax(dim=1).numpy() == task.test.labels
    scores = _predict(classifier, candidates.reshape(-1, *candidates.shape[2:]), mean, std).softmax(dim=1)
    agrees = scores.argmax(dim=1).numpy() == labels[bank.ids[rows]].repeat(bank.candidates)

    def entry(value: Any, meaning: str) -> dict[str, Any]:
        return {"value": round(float(value), 4), "meaning": meaning}

    return {
        "classifier_accuracy": entry(
            accuracy.mean(), "accuracy on real test images of a classifier trained on real labels"
        ),
        "classifier_agreement": entry(
            agrees.mean(), "share of candidates to which that classifier gives the anchor's label"
        ),
        "classifier_confidence": entry(scores.max(dim=1).values.mean(), "its mean confidence on the candidates"),
    }


def _train(task: Task, spec: EncoderSpec, *, epochs: int, seed: int) -> nn.Module:
    """Train backbone and classifier with SGD and one cosine, on lightly augmented real images."""
    torch.manual_seed(seed)
    backbone = spec.build()
    model = nn.Sequential(backbone, nn.Linear(feature_count(backbone), task.classes)).train()
    rows = subset(len(task.train), _IMAGES, seed=seed)
    pixels = torch.from_numpy(task.train.images[rows])
    assert task.train.labels is not None
    labels = torch.from_numpy(task.train.labels[rows])
    mean, std = torch.tensor(spec.mean).view(-1, 1, 1), torch.tensor(spec.std).view(-1, 1, 1)
    batches = Batches(len(pixels), min(_BATCH, len(pixels)), seed=seed, stream="classifier", drop_last=False)
    steps = epochs * batches.steps_per_epoch
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    mild = AugmentConfig(crop_scale=[0.6, 1.0], flip=0.0, jitter=0.0, gray=0.0)
    with console.progress("classifier of real labels", steps, "steps") as bar:
        for step in range(steps):
            places = batches.positions(step)
            drawn = augment(pixels[places], mild, seed=seed, step=step, ids=places, views=torch.zeros_like(places))
            loss = F.cross_entropy(model((drawn - mean) / std), labels[places])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.advance(1, loss=float(loss.detach()))
    return model.eval()


def _predict(model: nn.Module, images: np.ndarray, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Logits of uint8 images [N, C, H, W]: float [N, classes]."""
    return encode_images(model, images, mean, std)
