"""Evaluation of one frozen encoder: features once, then the linear probe and the kNN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from clsp import files
from clsp.encoders.export import load_encoder, read_spec
from clsp.errors import UserError
from clsp.evaluation import knn, linear
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.features import encode_images
from clsp.evaluation.score import Score, score
from clsp.images.imageset import Images, Split, split_fingerprint, subset


@dataclass(frozen=True)
class Task:
    """The images and labels of an evaluation; the same for all arms."""

    train: Split
    """Images that probe and kNN are fitted on."""
    test: Split
    """Images that are rated."""
    classes: int
    """Number of classes; 0 without labels."""
    held: np.ndarray
    """bool [train], the part on which C, k and temperature are chosen."""
    note: str
    """Where the test images come from."""
    key: str
    """A fingerprint of all this, for the feature cache."""


@dataclass(frozen=True)
class Result:
    """What was measured of one encoder."""

    linear: Score | None
    """None without labels."""
    knn: Score | None
    """Likewise."""
    features: Tensor
    """Features of the test images, float [N, D]."""


def make_task(images: Images, config: EvaluateConfig, *, seed: int) -> Task:
    """Part the data into images to fit on and images to test on.

    A source with a test part is used as it is; else a share of its labelled train images is set apart, class by
    class. Without labels all images serve, for the map and the neighbours alone.
    """
    train, test = images.train, images.test
    labels = train.labels
    if labels is None:
        chosen = subset(len(train), config.train_images, seed=seed)
        part = _rows(train, chosen)
        parts, classes, note = (part, test or part), 0, "without labels"
    else:
        classes = int(labels.max()) + 1
        known = np.flatnonzero(labels >= 0)
        if test is None or test.labels is None:
            is_test = _every_fifth(labels[known], config.test_share)
            test, known = _rows(train, known[is_test]), known[~is_test]
            note = f"{len(test)} images that were set apart from train, class by class (the source has no test part)"
        else:
            note = f"the source's {len(test)} test images"
        parts = (_rows(train, known[subset(len(known), config.train_images, seed=seed)]), test)
    held = _every_fifth(parts[0].labels, config.holdout) if classes else np.zeros(len(parts[0]), dtype=bool)
    key = files.fingerprint([split_fingerprint(part) for part in parts])
    return Task(parts[0], parts[1], classes, held, note, key)


def _rows(split: Split, rows: np.ndarray) -> Split:
    labels = None if split.labels is None else split.labels[rows]
    return Split(images=np.asarray(split.images[rows]), names=[split.names[int(row)] for row in rows], labels=labels)


def _every_fifth(labels: np.ndarray | None, share: float) -> np.ndarray:
    """Mark ``share`` of every class, evenly spread and at least one where a class has two; bool [N]."""
    assert labels is not None
    marked = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(round(share * len(rows)), 1), len(rows) - 1)
        marked[rows[np.linspace(0, len(rows) - 1, count + 2).round().astype(int)[1:-1]] if count > 0 else []] = True
    return marked


def evaluate_encoder(folder: Path, task: Task, config: EvaluateConfig, *, cache: Path | None = None) -> Result:
    """Evaluate the encoder in ``folder`` on ``task``.

    Args:
        folder: an encoder's folder.
        task: images and labels.
        config: the protocol.
        cache: file that keeps the features; it is used when encoder and task are the same.

    Raises:
        UserError: the encoder takes other images than the task has.
    """
    spec = read_spec(folder)
    if spec.channels != task.train.images.shape[1]:
        raise UserError(
            f"--encoder {folder} takes {spec.channels}-channel images, the data have {task.train.images.shape[1]}; "
            f"add --images.channels {spec.channels}"
        )
    train, test = _features(folder, task, config, cache)
    if not task.classes:
        return Result(None, None, test)
    assert task.train.labels is not None and task.test.labels is not None
    return Result(_linear(train, test, task, config), _knn(train, test, task, config), test)


def _features(folder: Path, task: Task, config: EvaluateConfig, cache: Path | None) -> tuple[Tensor, Tensor]:
    encoder_hash = files.file_hash(folder / "encoder.safetensors")
    key = files.fingerprint([encoder_hash, task.key])
    if cache is not None and cache.exists():
        try:
            stored = load_file(cache)
            if bytes(stored["key"].numpy()).decode() == key:
                return stored["train"], stored["test"]
        except (SafetensorError, KeyError, UnicodeDecodeError):
            pass  # a damaged or foreign cache is made anew
    encoder, spec = load_encoder(folder).to(memory_format=torch.channels_last), read_spec(folder)
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    train, test = (
        encode_images(encoder, part.images, mean, std, batch_size=config.batch_size) for part in (task.train, task.test)
    )
    if cache is not None:
        mark = torch.frombuffer(bytearray(key.encode()), dtype=torch.uint8)
        files.write_bytes(cache, save({"train": train, "test": test, "key": mark}))
    return train, test


def _linear(train: Tensor, test: Tensor, task: Task, config: EvaluateConfig) -> Score:
    labels, fit = task.train.labels, train.numpy()
    assert labels is not None and task.test.labels is not None
    value = linear.choose(fit, labels, task.classes, task.held, config.regularisation)
    probe = linear.LinearProbe(fit, labels, value)
    protocol = (
        f"logistic regression (L-BFGS) on standardised frozen features of {len(labels)} labelled train images, "
        f"C = {value:g} chosen on {int(task.held.sum())} of them; tested on {task.note}"
    )
    return score(probe.scores(test.numpy(), task.classes), task.test.labels, protocol)


def _knn(train: Tensor, test: Tensor, task: Task, config: EvaluateConfig) -> Score:
    labels = torch.from_numpy(task.train.labels)
    held = torch.from_numpy(task.held)
    k, temperature = knn.choose(train, labels, task.classes, held, config.neighbours, config.temperatures)
    similarities, indices = knn.nearest(test, train, min(k, len(train)))
    votes = knn.vote(similarities, labels[indices], task.classes, k=k, temperature=temperature)
    protocol = (
        f"weighted kNN by cosine over {len(labels)} labelled train images, k = {k} and temperature {temperature:g} "
        f"chosen on {int(task.held.sum())} of them; tested on {task.note}"
    )
    assert task.test.labels is not None
    return score(votes.numpy(), task.test.labels, protocol)
