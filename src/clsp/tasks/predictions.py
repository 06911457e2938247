"""What images are taken for, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clsp import files
from clsp.encoders.export import EncoderSpec
from clsp.engine.threads import bind
from clsp.evaluation.embeddings import parts_of
from clsp.images.config import ImagesConfig
from clsp.images.sources import open_images
from clsp.study.opened import tones_of
from clsp.study.record import describe
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


def every_image(data: str, spec: EncoderSpec, folder: Path) -> tuple[list[str], files.Array]:
    """All images of a SOURCE as an encoder takes them, the train part first: their names, and uint8 [N, C, H, W].

    Args:
        data: a SOURCE; its labels, if it has any, are not read.
        spec: the encoder's.
        folder: the encoder's; images become 8-bit and opaque as those did that it was trained on.
    """
    about = {**tones_of(folder).settings(), "size": spec.size, "channels": spec.channels}
    images = open_images(data, ImagesConfig(**about, labels="none"))
    describe(images)
    bind()
    parts = [split for _, split in parts_of(images)]
    return [str(name) for split in parts for name in split.names], files.Joined([split.images for split in parts])
