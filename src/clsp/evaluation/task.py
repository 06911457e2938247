"""The task of an evaluation: which images are fitted on, held out to choose on, and tested on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clsp import files
from clsp.errors import UserError
from clsp.evaluation.config import EvaluateConfig
from clsp.images.imageset import Images, Split, split_fingerprint, subset


@dataclass(frozen=True)
class Task:
    """The images and labels of an evaluation; the same for all arms."""

    train: Split
    """Images that probe and kNN are fitted on."""
    test: Split
    """Images that are evaluated."""
    classes: int
    """Number of classes; 0 without labels."""
    held: np.ndarray
    """bool [train], the part on which C, k and temperature are chosen."""
    note: str
    """Where the test images come from."""
    key: str
    """A fingerprint of all this, for the feature cache."""
    seed: int
    """Names what is drawn from it: few labels, queries."""

    def has(self, column: str) -> bool:
        """Whether train and test images have this column."""
        return self.train.has(column) and self.test.has(column)


def make_task(images: Images, config: EvaluateConfig, *, seed: int) -> Task:
    """Part the data into images to fit on and images to test on.

    A source with a test part is used as it is; else a fraction of its labelled train images is set apart, class by
    class. With ``config.validation_images`` train images are tested on instead. Without labels all images serve, for
    the map and the neighbours alone.

    Raises:
        UserError: the validation images leave none to fit on.
    """
    train, test = images.train, images.test
    if train.labels is None:
        part = train.rows(subset(len(train), config.train_images, seed=seed))
        parts, classes, note = (part, test or part), 0, "without labels"
    else:
        classes = int(train.labels.max()) + 1
        fitted, test, note = _labelled(train, test, config, seed)
        parts = (train.rows(fitted), test)
    held = fraction_of_each(parts[0].labels, config.holdout) if classes else np.zeros(len(parts[0]), dtype=bool)
    key = files.fingerprint([split_fingerprint(part) for part in parts])
    return Task(parts[0], parts[1], classes, held, note, key, seed)


def _labelled(train: Split, test: Split | None, config: EvaluateConfig, seed: int) -> tuple[np.ndarray, Split, str]:
    """Return the rows of ``train`` to fit on (int64), the images to test on, and where those come from."""
    assert train.labels is not None
    known = np.flatnonzero(train.labels >= 0)
    if test is None or test.labels is None:
        is_test = fraction_of_each(train.labels[known], config.test_fraction)
        test, known = train.rows(known[is_test]), known[~is_test]
        note = f"{len(test)} images that were set apart from train, class by class (the source has no test part)"
    else:
        note = f"the source's {len(test)} test images"
    fitted = subset(len(known), config.train_images, seed=seed)
    if config.validation_images is not None and train.has("validation"):
        part = np.asarray(train.column("validation"), bool)[known]
        held = np.flatnonzero(part)[subset(int(part.sum()), config.validation_images, seed=seed)]
        test, fitted = train.rows(known[held]), np.intersect1d(fitted, np.flatnonzero(~part))
        note = f"{len(test)} images of the source's validation part"
    elif config.validation_images is not None:
        # Smaller subsets lie in larger ones of the same length: what the largest lacks, no stage that takes only some
        # of the images has seen.
        left = max(len(known) - config.validation_images, 0)
        if left < 2:
            raise UserError(
                f"--evaluate.validation_images {config.validation_images} leaves {left} of {len(known)} labelled train "
                f"images to fit on; choose at most {len(known) - 2}"
            )
        rest = subset(len(known), left, seed=seed)
        test, fitted = train.rows(np.delete(known, rest)), np.intersect1d(fitted, rest)
        note = f"{len(test)} validation images that were held out of train"
    return known[fitted], test, note


def fraction_of_each(labels: np.ndarray | None, fraction: float) -> np.ndarray:
    """Mark a ``fraction`` of every class in ``labels`` int64 [N], evenly, at least one of two or more; bool [N]."""
    assert labels is not None
    marked = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        marked[rows[np.linspace(0, len(rows) - 1, count + 2).round().astype(int)[1:-1]] if count > 0 else []] = True
    return marked
