"""``clsp predict``: the class of every image, and how sure the classifier is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clsp import files
from clsp.engine.hardware import HardwareConfig, device_of
from clsp.engine.threads import bind
from clsp.evaluation.embeddings import parts_of
from clsp.images.config import ImagesConfig
from clsp.images.sources import open_images
from clsp.study.record import describe
from clsp.tasks.classify.model import load_classifier
from clsp.text import csv_text


@dataclass(frozen=True)
class Predictions:
    """What a classifier takes images for."""

    names: list[str]
    """N names of images."""
    classes: tuple[str, ...]
    """Names of the classes."""
    probabilities: np.ndarray
    """float32 [N, classes]."""

    @property
    def chosen(self) -> list[str]:
        """The class of each image."""
        return [self.classes[number] for number in self.probabilities.argmax(axis=1)]

    @property
    def confidence(self) -> np.ndarray:
        """The probability of that class, float32 [N]."""
        found: np.ndarray = self.probabilities.max(axis=1)
        return found

    def table(self) -> str:
        """Write them as CSV: ``name``, ``label``, ``confidence``."""
        rows = zip(self.names, self.chosen, self.confidence, strict=True)
        return csv_text(["name", "label", "confidence"], ((name, label, f"{sure:.4f}") for name, label, sure in rows))


def predict(classifier: Path, data: str) -> Predictions:
    """Classify every image of a SOURCE, the train part first.

    Args:
        classifier: the folder of a classifier.
        data: a SOURCE; its labels, if it has any, are not looked at.

    Raises:
        UserError: the classifier or the data cannot be read.
    """
    saved = load_classifier(classifier)
    images = open_images(data, ImagesConfig(size=saved.spec.size, channels=saved.spec.channels, labels="none"))
    describe(images)
    bind()
    parts = [split for _, split in parts_of(images)]
    pixels = files.Joined([split.images for split in parts])
    found = saved.probabilities(pixels, device=device_of(HardwareConfig()))
    return Predictions([str(name) for split in parts for name in split.names], saved.classes, found)
