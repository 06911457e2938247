"""The labels that a classifier learns from: the data's, or noisy ones; and the right ones where they are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from clsp import randomness
from clsp.errors import UserError, suggest
from clsp.images.imageset import Images, subset
from clsp.tasks.classify.config import NoiseConfig
from clsp.text import is_whole

NOISY = "noisy_label"
"""The column of labels of which some are wrong, beside right ones."""


@dataclass(frozen=True)
class Labels:
    """Labelled train images."""

    ids: np.ndarray
    """Their dataset indices, int64 [N], sorted."""
    given: np.ndarray
    """The labels that are learnt from, int64 [N]."""
    right: np.ndarray | None
    """The right ones, int64 [N]; None where nobody knows them."""
    classes: tuple[str, ...]
    """Names of the classes."""

    @property
    def wrong(self) -> np.ndarray | None:
        """Which labels are wrong, bool [N]; None where nobody knows."""
        return None if self.right is None else self.given != self.right


def train_labels(images: Images, noise: NoiseConfig, *, count: int | None, seed: int) -> Labels:
    """Choose the labelled train images and the labels to learn from.

    A column ``noisy_label`` beside the labels is learnt from, and the labels are then the right ones. Noise by option
    is drawn for each image by itself.

    Args:
        images: the data.
        noise: what is made wrong on purpose.
        count: images that serve; None: all.
        seed: names what is drawn.

    Raises:
        UserError: there are no labels, fewer than two classes, or the noise names a class that is not there.
    """
    train = images.train
    if train.labels is None or images.classes is None:
        raise UserError(
            f"{images.source} has no labels to learn from; name the folders by class, or give --images.labels FILE"
        )
    known = np.flatnonzero(train.labels >= 0)
    ids = known[subset(len(known), count, seed=seed)]
    right = train.labels[ids]
    if len(images.classes) < 2 or len(ids) < 2:
        raise UserError(
            f"{images.source} has {len(images.classes)} class and {len(ids)} labels; at least two are needed"
        )
    if train.has(NOISY):
        if noise.kind != "none":
            raise UserError(f"{images.source} has a column {NOISY} of its own; leave --classify.noise.kind out")
        return Labels(ids, _numbers(train.column(NOISY)[ids], images.classes), right, images.classes)
    if noise.kind == "none":
        return Labels(ids, right, None, images.classes)
    return Labels(ids, with_noise(right, ids, noise, images.classes, seed=seed), right, images.classes)


def with_noise(
    right: np.ndarray, ids: np.ndarray, noise: NoiseConfig, classes: tuple[str, ...], *, seed: int
) -> np.ndarray:
    """Return labels of which some are wrong, int64 [N].

    Args:
        right: the right ones, int64 [N].
        ids: dataset indices, which name the draws, int64 [N].
        noise: kind, rate and map.
        classes: names of the classes.
        seed: likewise.

    Raises:
        UserError: an asymmetric noise without a map, or with a class that is not there.
    """
    chance, other = randomness.uniform(seed, "label noise", (torch.from_numpy(ids),), 2).T.numpy()
    hit = chance < noise.rate
    if noise.kind == "symmetric":
        others = (right + 1 + np.minimum(other * (len(classes) - 1), len(classes) - 2).astype(np.int64)) % len(classes)
        return np.where(hit, others, right)
    targets = np.arange(len(classes))
    for source, target in _mapped(noise.map, classes).items():
        targets[source] = target
    return np.where(hit, targets[right], right)


def _mapped(names: Mapping[str, str], classes: tuple[str, ...]) -> dict[int, int]:
    if not names:
        raise UserError("--classify.noise.kind asymmetric needs a map: --classify.noise.map '{Shirt: Coat}'")
    return {_class(source, classes): _class(target, classes) for source, target in names.items()}


def _class(name: object, classes: tuple[str, ...]) -> int:
    """The number of a class by its name, or by its number."""
    text = str(name)
    if text in classes:
        return classes.index(text)
    if is_whole(text) and int(text) < len(classes):
        return int(text)
    shown = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
    raise UserError(f"--classify.noise.map names '{text}', which is none of {shown}{suggest(text, classes)}")


def _numbers(column: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """A column of classes, by name or by number, as numbers."""
    known = {name: number for number, name in enumerate(classes)}
    found = [known.get(str(value), value) for value in column]
    try:
        numbers = np.array([int(value) for value in found], dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise UserError(f"the column {NOISY} holds what is no class: {error}") from error
    if numbers.min() < 0 or numbers.max() >= len(classes):
        raise UserError(f"the column {NOISY} holds numbers from {numbers.min()} to {numbers.max()}, not of a class")
    return numbers
