"""Few labels: what an encoder is worth where only a small fraction of the train images has a label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clsp import files, randomness
from clsp.encoders.backbone import feature_count, to_channels_last
from clsp.encoders.export import load_encoder, read_spec
from clsp.encoders.features import encode_images
from clsp.evaluation.apart import groups_of, held_out
from clsp.evaluation.classifier import fit_classifier
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluator import Evaluator
from clsp.evaluation.evaluators import linear
from clsp.evaluation.measure import Measure
from clsp.evaluation.task import Task
from clsp.evaluation.trained import Encoder, Trained

_ENOUGH, _HELD, _C = 10, 0.2, 1.0
"""From ten images of each class on, C is chosen on a fifth of them; else it is 1."""

_BATCH, _MOST_STEPS, _DECAY = 64, 1000, 0.05
"""Fine-tuning: images a step, the largest number of steps, AdamW's weight decay."""


class FewLabels(Evaluator):
    """Top-1 of a probe, and of a fine-tuned copy, on draws of a fraction of the labels; lowest and highest of them."""

    settings: EvaluateConfig
    place = 40

    def __call__(self, trained: Trained, data: Task) -> list[Measure]:
        """Measure each fraction that is asked for; only an encoder can be fine-tuned."""
        return [one for fraction in self.settings.label_fractions for one in self._of(fraction, trained, data)]

    def _of(self, fraction: float, trained: Trained, data: Task) -> list[Measure]:
        config, labels = self.settings, data.train.column("label")
        draws = [draw_labels(labels, fraction, seed=data.seed, number=number) for number in range(config.label_draws)]
        probes = [_fit_probe(rows, data, trained.train, config.regularisation) for rows in draws]
        found = [_accuracy(probe.scores(trained.test.numpy(), data.classes), data) for probe, _ in probes]
        what = f"probe: logistic regression (L-BFGS) on standardised frozen features, {_chosen(probes)}"
        measures = [_measure("probe", found, fraction, data, draws, what)]
        if config.fine_tune_epochs and isinstance(trained, Encoder):
            steps = _steps(len(draws[0]), config.fine_tune_epochs)
            what = (
                f"fine-tuned: a copy of the encoder with a linear head that begins as the probe, {steps} steps of "
                f"AdamW with highest rate {config.fine_tune_lr:g}, not chosen; light crops; "
                "BatchNorm keeps its statistics"
            )
            found = []
            for number, (rows, (probe, _)) in enumerate(zip(draws, probes)):
                title = f"fine-tuning, {len(rows)} labels, draw {number + 1} of {len(draws)}"
                model = fine_tune(trained.folder, data, rows, probe, config, title=title, device=trained.device)
                found.append(_tuned_accuracy(model, trained, data))
            measures.append(_measure("fine_tuned", found, fraction, data, draws, what))
        return measures


def _measure(
    kind: str, accuracies: list[float], fraction: float, data: Task, draws: list[np.ndarray], what: str
) -> Measure:
    labels, count = data.train.column("label"), len(draws[0])
    least, most = (int(f(np.unique(labels[draws[0]], return_counts=True)[1])) for f in (np.min, np.max))
    each = f"{least}" if least == most else f"{least} to {most}"
    value, low, high = (round(100 * float(f(accuracies)), 2) for f in (np.mean, min, max))
    return Measure(
        name=f"few_labels_{fraction:g}_{kind}",
        title=f"{count} labels, {kind.replace('_', '-')}",
        value=value,
        low=low,
        high=high,
        limits="lowest and highest draw",
        details={"fraction": fraction, "labels": count, "draws": len(draws)},
        protocol=f"{count} of {len(labels)} labelled train images ({each} of each class), drawn {len(draws)} times: "
        f"mean, lowest and highest top-1; {what}; tested on {data.note}",
    )


def draw_labels(labels: np.ndarray, fraction: float, *, seed: int, number: int) -> np.ndarray:
    """Draw a ``fraction`` of the images, equally many of each class (at least one, at most all that it has).

    A draw is a pure function of the seed and its number, and contains the draws of smaller fractions of that number.

    Args:
        labels: int64 [N].
        fraction: in (0, 1].
        seed: the run's seed.
        number: counts the draws.

    Returns:
        Rows, int64 [n], sorted.
    """
    classes = np.unique(labels)
    each = max(round(fraction * len(labels) / len(classes)), 1)
    rows = []
    for label in classes:
        own = np.flatnonzero(labels == label)
        order = randomness.permutation(seed, f"few labels of class {label}", number, len(own)).numpy()
        rows.append(own[order[:each]])
    return np.sort(np.concatenate(rows))


def _fit_probe(
    rows: np.ndarray, data: Task, features: Tensor, values: Sequence[float]
) -> tuple[linear.LinearProbe, float | None]:
    """Fit the probe on the train images ``rows``; also return the C that was chosen, or None where it is fixed."""
    assert data.train.labels is not None
    fit, labels = features.numpy()[rows], data.train.labels[rows]
    if np.unique(labels, return_counts=True)[1].min() < _ENOUGH:
        return linear.LinearProbe(fit, labels, _C), None
    chosen = linear.choose(fit, labels, data.classes, held_out(labels, _HELD, groups_of(data.train, rows)), values)
    return linear.LinearProbe(fit, labels, chosen.regularisation, chosen), chosen.regularisation


def fine_tune(
    folder: Path,
    data: Task,
    rows: np.ndarray,
    probe: linear.LinearProbe,
    config: EvaluateConfig,
    *,
    title: str,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """Train a copy of the encoder in ``folder`` with a linear head on a draw of labels.

    The head begins as the probe (Kumar et al., arXiv 2202.10054), so that the features are not spoilt while it is
    found. BatchNorm keeps the statistics of the pretraining: those of a handful of images would be noise.

    Args:
        folder: an encoder's folder; nothing is written there.
        data: labelled images.
        rows: the train images whose labels are known.
        probe: fitted on the encoder's features of these images.
        config: epochs and learning rate.
        title: what the progress line says.
        device: where it is trained.

    Returns:
        Normalised images [B, C, H, W] to logits [B, classes], in eval mode, on ``device``.
    """
    assert data.train.labels is not None
    encoder, spec = load_encoder(folder), read_spec(folder)
    head = nn.Linear(feature_count(encoder), data.classes)
    for parameter, value in zip((head.weight, head.bias), probe.layer(data.classes)):
        parameter.data.copy_(torch.from_numpy(value))
    model = to_channels_last(nn.Sequential(encoder, head).to(device)).eval()
    fit_classifier(
        model,
        files.Rows(data.train.images, rows),
        data.train.labels[rows],
        spec,
        torch.optim.AdamW(model.parameters(), lr=config.fine_tune_lr, weight_decay=_DECAY),
        steps=_steps(len(rows), config.fine_tune_epochs),
        batch_size=min(_BATCH, len(rows)),
        seed=data.seed,
        title=title,
    )
    return model


def _steps(count: int, epochs: int) -> int:
    """Steps in which ``count`` images are seen ``epochs`` times, but not more than the bound."""
    return min(-(-count * epochs // min(_BATCH, count)), _MOST_STEPS)


def _tuned_accuracy(model: nn.Module, trained: Encoder, data: Task) -> float:
    mean, std = torch.tensor(trained.spec.mean), torch.tensor(trained.spec.std)
    scores = encode_images(model, data.test.images, mean, std, batch_size=trained.batch_size)
    return _accuracy(scores.numpy(), data)


def _accuracy(scores: np.ndarray, data: Task) -> float:
    """Fraction of the test images whose highest score [N, classes] is that of their label."""
    return float((scores.argmax(axis=1) == data.test.labels).mean())


def _chosen(probes: Sequence[tuple[linear.LinearProbe, float | None]]) -> str:
    values = ", ".join(f"{value:g}" for _, value in probes if value is not None)
    return f"C = {values} chosen on a fifth of each draw" if values else f"C = {_C:g}, not chosen"
