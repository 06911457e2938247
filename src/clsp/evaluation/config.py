"""The evaluation protocol."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class EvaluateConfig:
    """Linear probe and kNN on frozen features. Everything is chosen on a held-out part of train, never on test."""

    train_images: int | None = None
    """Labelled train images that the probe and the kNN are fitted on, chosen at random; null: all."""
    holdout: float = 0.1
    """Share of them that is held out to choose C, k and the temperature; afterwards all are used."""
    test_share: float = 0.2
    """Share of a labelled source without a test part that is set apart, by class, for testing."""
    regularisation: list[float] = field(default_factory=lambda: [0.01, 0.1, 1.0, 10.0, 100.0])
    """Values of C of the logistic regression (larger: weaker regularisation) to choose from."""
    neighbours: list[int] = field(default_factory=lambda: [1, 5, 10, 20, 50, 100, 200])
    """Values of k to choose from."""
    temperatures: list[float] = field(default_factory=lambda: [0.02, 0.07, 0.2, 1.0])
    """Temperatures of the kNN's vote to choose from."""
    batch_size: int = 500
    """Images encoded at once."""
    classifier_epochs: int = 10
    """Epochs of the supervised classifier that judges whether candidates keep the anchor's label; 0: none."""
