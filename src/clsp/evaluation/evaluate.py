"""Evaluation of one frozen encoder: features once, then the linear probe, the kNN, retrieval and few labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from clsp import files
from clsp.encoders.export import read_spec
from clsp.engine.neighbours import nearest
from clsp.errors import UserError
from clsp.evaluation import knn, linear
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.features import encode_by
from clsp.evaluation.few_labels import FewLabels, rate_few_labels
from clsp.evaluation.retrieval import Retrieval, rate_retrieval
from clsp.evaluation.score import Score, score
from clsp.evaluation.task import Task


@dataclass(frozen=True)
class Result:
    """What was measured of one encoder."""

    linear: Score | None
    """None without labels."""
    knn: Score | None
    """Likewise."""
    features: Tensor
    """Features of the test images, float [N, D]."""
    retrieval: Retrieval | None = None
    """None without labels, or where no class has two test images."""
    few_labels: tuple[FewLabels, ...] = ()
    """One of each share that was asked for."""

    def record(self) -> dict[str, Any]:
        """The values for metrics.json; empty without labels."""
        rated = {"linear": self.linear, "knn": self.knn, "retrieval": self.retrieval}
        record: dict[str, Any] = {name: value.record() for name, value in rated.items() if value is not None}
        return record | ({"few_labels": [few.record() for few in self.few_labels]} if self.few_labels else {})


def evaluate_encoder(
    folder: Path,
    task: Task,
    config: EvaluateConfig,
    *,
    cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> Result:
    """Evaluate the encoder in ``folder`` on ``task``.

    Args:
        folder: an encoder's folder.
        task: images and labels.
        config: the protocol.
        cache: file that keeps the features; it is used when encoder and task are the same.
        device: where the encoder works; features are rated on the CPU.

    Raises:
        UserError: the encoder takes other images than the task has.
    """
    spec = read_spec(folder)
    if spec.channels != task.train.images.shape[1]:
        raise UserError(
            f"--encoder {folder} takes {spec.channels}-channel images, the data have {task.train.images.shape[1]}; "
            f"add --images.channels {spec.channels}"
        )
    train, test = _features(folder, task, config, cache, device)
    if not task.classes:
        return Result(None, None, test)
    few = tuple(rate_few_labels(folder, task, (train, test), config, device=device))
    return replace(rate_features(train, test, task, config), few_labels=few)


def rate_features(train: Tensor, test: Tensor, task: Task, config: EvaluateConfig) -> Result:
    """Rate features float [N, D] of a labelled task's train and test images: linear probe, kNN and retrieval."""
    assert task.test.labels is not None
    return Result(
        _linear(train, test, task, config),
        _knn(train, test, task, config),
        test,
        rate_retrieval(test, task.test.labels, queries=config.retrieval_queries, seed=task.seed, note=task.note),
    )


def _features(
    folder: Path, task: Task, config: EvaluateConfig, cache: Path | None, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    encoder_hash = files.file_hash(folder / "encoder.safetensors")
    key = files.fingerprint([encoder_hash, task.key])
    if cache is not None and cache.exists():
        try:
            stored = load_file(cache)
            if bytes(stored["key"].numpy()).decode() == key:
                return stored["train"], stored["test"]
        except (SafetensorError, KeyError, UnicodeDecodeError):
            pass  # a damaged or foreign cache is made anew
    parts = (task.train.images, task.test.images)
    train, test = encode_by(folder, parts, device=device, batch_size=config.batch_size)
    if cache is not None:
        mark = torch.frombuffer(bytearray(key.encode()), dtype=torch.uint8)
        files.write_bytes(cache, save({"train": train, "test": test, "key": mark}))
    return train, test


def _linear(train: Tensor, test: Tensor, task: Task, config: EvaluateConfig) -> Score:
    labels, fit = task.train.labels, train.numpy()
    assert labels is not None and task.test.labels is not None
    chosen = linear.choose(fit, labels, task.classes, task.held, config.regularisation)
    probe = linear.LinearProbe(fit, labels, chosen.regularisation, chosen)
    protocol = (
        f"logistic regression (L-BFGS) on standardised frozen features of {len(labels)} labelled train images, "
        f"C = {probe.regularisation:g} chosen on {int(task.held.sum())} of them; tested on {task.note}"
    )
    return score(probe.scores(test.numpy(), task.classes), task.test.labels, protocol)


def _knn(train: Tensor, test: Tensor, task: Task, config: EvaluateConfig) -> Score:
    labels = torch.from_numpy(task.train.labels)
    held = torch.from_numpy(task.held)
    k, temperature = knn.choose(train, labels, task.classes, held, config.neighbours, config.temperatures)
    similarities, indices = nearest(test, train, min(k, len(train)))
    votes = knn.vote(similarities, labels[indices], task.classes, k=k, temperature=temperature)
    protocol = (
        f"weighted kNN by cosine over {len(labels)} labelled train images, k = {k} and temperature {temperature:g} "
        f"chosen on {int(task.held.sum())} of them; tested on {task.note}"
    )
    assert task.test.labels is not None
    return score(votes.numpy(), task.test.labels, protocol)
