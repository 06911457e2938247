"""The evaluation protocol."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from clsp.settings import Count, Fraction, Incidental, Positive, settings
from clsp.settings.types import AtLeastTwo, Counts, NonNegativeInt, Numbers, PositiveFraction


@settings
class EvaluateConfig:
    """What is measured of an encoder. Everything is chosen on a held-out part of train, never on test."""

    train_images: AtLeastTwo | None = None
    """Labelled train images that the probe and the kNN are fitted on, chosen at random; null: all."""
    holdout: Fraction = 0.1
    """Fraction of them that is held out to choose C, k and the temperature; afterwards all are used."""
    validation_images: AtLeastTwo | None = None
    """Evaluate on so many labelled train images instead of the test images, to choose settings by; they serve no
    probe, and no other stage that takes only some of the images (where images have a ``group``, whole groups are held
    out of the probe, and such a stage may see some without their labels). null: the test images."""
    test_fraction: Fraction = 0.2
    """Fraction of a labelled source without a test part that is set apart, by class and in whole groups (column
    ``group``), for testing."""
    regularisation: Numbers = field(default_factory=lambda: [0.01, 0.1, 1.0, 10.0, 100.0])
    """Values of C of the logistic regression (larger: weaker regularisation) to choose from."""
    neighbours: Counts = field(default_factory=lambda: [1, 5, 10, 20, 50, 100, 200])
    """Values of k to choose from."""
    temperatures: Numbers = field(default_factory=lambda: [0.02, 0.07, 0.2, 1.0])
    """Temperatures of the kNN's vote to choose from."""
    retrieval_queries: Count = 10_000
    """At most so many test images search for the others of their class; chosen at random."""
    label_fractions: list[PositiveFraction] = field(default_factory=list)
    """Fractions of the labelled train images that are to do alone, such as [0.01, 0.1]; empty: none."""
    label_draws: Count = 3
    """Draws of each fraction, equally many images of each class; mean, lowest and highest are reported."""
    fine_tune_epochs: NonNegativeInt = 0
    """Also train the whole encoder on each draw, for so many passes (such as 100) in at most 1,000 steps of 64 images;
    0: the probe alone."""
    fine_tune_lr: Positive = 0.001
    """Highest learning rate of the fine-tuning (AdamW); it is not chosen on any data."""
    batch_size: Annotated[Count, Incidental] = 500
    """Images encoded at once."""
    classifier_epochs: Annotated[NonNegativeInt, Incidental] = 10
    """Epochs of the supervised classifier that judges whether candidates keep the anchor's label; 0: none. It is no
    part of what is measured of an encoder."""
