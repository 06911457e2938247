"""Few labels: what an encoder is worth where only a small share of the train images has a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clsp import files, randomness
from clsp.encoders.backbone import feature_count, to_channels_last
from clsp.encoders.export import EncoderSpec, load_encoder, read_spec
from clsp.evaluation import linear
from clsp.evaluation.classifier import fit_classifier
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.features import encode_images
from clsp.evaluation.task import Task, share_of_each

_ENOUGH, _HELD, _C = 10, 0.2, 1.0
"""From ten images of each class on, C is chosen on a fifth of them; else it is 1."""

_BATCH, _MOST_STEPS, _DECAY = 64, 1000, 0.05
"""Fine-tuning: images a step, the largest number of steps, AdamW's weight decay."""


@dataclass(frozen=True)
class Spread:
    """Test top-1 over the draws of labels, in percent."""

    mean: float
    low: float
    """Of the worst draw."""
    high: float
    """Of the best draw."""

    def __str__(self) -> str:
        return f"{self.mean:.2f} % ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class FewLabels:
    """How well one share of the labels does."""

    share: float
    """The share that was asked for."""
    labels: int
    """Images that were drawn each time."""
    draws: int
    probe: Spread
    """Logistic regression on frozen features."""
    fine_tuned: Spread | None
    """The whole encoder trained with a linear head; None where it was not asked for."""
    protocol: str
    """What was done, in one sentence."""

    def record(self) -> dict[str, object]:
        """The values for metrics.json."""
        return asdict(self)

    def __str__(self) -> str:
        tuned = "" if self.fine_tuned is None else f", fine-tuned {self.fine_tuned}"
        return f"top-1 of {self.labels} labels: probe {self.probe}{tuned}; lowest and highest of {self.draws} draws"


def rate_few_labels(
    folder: Path,
    task: Task,
    features: tuple[Tensor, Tensor],
    config: EvaluateConfig,
    *,
    device: torch.device | str = "cpu",
) -> list[FewLabels]:
    """Rate the encoder in ``folder`` with each of the shares of labels that ``config`` names.

    Args:
        folder: an encoder's folder; nothing is written there.
        task: labelled images.
        features: frozen features of its train and test images, float [N, D] each, on the CPU.
        config: the shares, the number of draws, and how the encoder is fine-tuned.
        device: where it is fine-tuned.
    """
    return [_rate(share, folder, task, features, config, device) for share in config.label_shares]


def draw_labels(labels: np.ndarray, share: float, *, seed: int, number: int) -> np.ndarray:
    """Draw ``share`` of the images, equally many of each class (at least one, at most all that it has).

    A draw is a pure function of the seed and its number, and contains the draws of smaller shares of that number.

    Args:
        labels: int64 [N].
        share: in (0, 1].
        seed: the run's seed.
        number: counts the draws.

    Returns:
        Rows, int64 [n], sorted.
    """
    classes = np.unique(labels)
    each = max(round(share * len(labels) / len(classes)), 1)
    rows = []
    for label in classes:
        own = np.flatnonzero(labels == label)
        order = randomness.permutation(seed, f"few labels of class {label}", number, len(own)).numpy()
        rows.append(own[order[:each]])
    return np.sort(np.concatenate(rows))


def _rate(
    share: float,
    folder: Path,
    task: Task,
    features: tuple[Tensor, Tensor],
    config: EvaluateConfig,
    device: torch.device | str,
) -> FewLabels:
    assert task.train.labels is not None
    numbers = range(config.label_draws)
    draws = [draw_labels(task.train.labels, share, seed=task.seed, number=number) for number in numbers]
    probes = [_fit_probe(rows, task, features[0], config.regularisation) for rows in draws]
    tuned = []
    if config.fine_tune_epochs:
        for number, rows, (probe, _) in zip(numbers, draws, probes):
            title = f"fine-tuning, {len(rows)} labels, draw {number + 1} of {len(draws)}"
            model = fine_tune(folder, task, rows, probe, config, title=title, device=device)
            tuned.append(_tuned_accuracy(model, read_spec(folder), task, config))
    return FewLabels(
        share=share,
        labels=len(draws[0]),
        draws=len(draws),
        probe=_spread([_accuracy(probe.scores(features[1].numpy(), task.classes), task) for probe, _ in probes]),
        fine_tuned=_spread(tuned) if tuned else None,
        protocol=_protocol(task, draws, [chosen for _, chosen in probes], config),
    )


def _fit_probe(
    rows: np.ndarray, task: Task, features: Tensor, values: Sequence[float]
) -> tuple[linear.LinearProbe, float | None]:
    """Fit the probe on the train images ``rows``; also return the C that was chosen, or None where it is fixed."""
    assert task.train.labels is not None
    fit, labels = features.numpy()[rows], task.train.labels[rows]
    if np.unique(labels, return_counts=True)[1].min() < _ENOUGH:
        return linear.LinearProbe(fit, labels, _C), None
    chosen = linear.choose(fit, labels, task.classes, share_of_each(labels, _HELD), values)
    return linear.LinearProbe(fit, labels, chosen.regularisation, chosen), chosen.regularisation


def fine_tune(
    folder: Path,
    task: Task,
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
        task: labelled images.
        rows: the train images whose labels are known.
        probe: fitted on the encoder's features of these images.
        config: epochs and learning rate.
        title: what the progress line says.
        device: where it is trained.

    Returns:
        Normalised images [B, C, H, W] to logits [B, classes], in eval mode, on ``device``.
    """
    assert task.train.labels is not None
    encoder, spec = load_encoder(folder), read_spec(folder)
    head = nn.Linear(feature_count(encoder), task.classes)
    for parameter, value in zip((head.weight, head.bias), probe.layer(task.classes)):
        parameter.data.copy_(torch.from_numpy(value))
    model = to_channels_last(nn.Sequential(encoder, head).to(device)).eval()
    fit_classifier(
        model,
        files.Rows(task.train.images, rows),
        task.train.labels[rows],
        spec,
        torch.optim.AdamW(model.parameters(), lr=config.fine_tune_lr, weight_decay=_DECAY),
        steps=_steps(len(rows), config.fine_tune_epochs),
        batch_size=min(_BATCH, len(rows)),
        seed=task.seed,
        title=title,
    )
    return model


def _steps(count: int, epochs: int) -> int:
    """Steps in which ``count`` images are seen ``epochs`` times, but not more than the bound."""
    return min(-(-count * epochs // min(_BATCH, count)), _MOST_STEPS)


def _tuned_accuracy(model: nn.Module, spec: EncoderSpec, task: Task, config: EvaluateConfig) -> float:
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    return _accuracy(encode_images(model, task.test.images, mean, std, batch_size=config.batch_size).numpy(), task)


def _accuracy(scores: np.ndarray, task: Task) -> float:
    """Share of the test images whose highest score [N, classes] is that of their label."""
    return float((scores.argmax(axis=1) == task.test.labels).mean())


def _spread(accuracies: list[float]) -> Spread:
    mean, low, high = (round(100 * float(f(accuracies)), 2) for f in (np.mean, min, max))
    return Spread(mean, low, high)


def _protocol(task: Task, draws: list[np.ndarray], chosen: list[float | None], config: EvaluateConfig) -> str:
    labels, count = task.train.labels, len(draws[0])
    assert labels is not None
    least, most = (int(f(np.unique(labels[draws[0]], return_counts=True)[1])) for f in (np.min, np.max))
    each = f"{least}" if least == most else f"{least} to {most}"
    values = ", ".join(f"{value:g}" for value in chosen if value is not None)
    regularisation = f"C = {values} chosen on a fifth of each draw" if values else f"C = {_C:g}, not chosen"
    parts = [
        f"{count} of {len(labels)} labelled train images ({each} of each class), drawn {len(draws)} times: "
        "mean, lowest and highest top-1",
        f"probe: logistic regression (L-BFGS) on standardised frozen features, {regularisation}",
    ]
    if config.fine_tune_epochs:
        parts.append(
            "fine-tuned: a copy of the encoder with a linear head that begins as the probe, "
            f"{_steps(count, config.fine_tune_epochs)} steps of AdamW with highest rate {config.fine_tune_lr:g}, "
            "not chosen; light crops; BatchNorm keeps its statistics"
        )
    return "; ".join([*parts, f"tested on {task.note}"])
