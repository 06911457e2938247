"""The task of an evaluation: which images are fitted on, held out to choose on, and tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from clsp import console, distributed, files
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
    shown: str = "test images"
    """What the images of ``test`` are, in a word or two."""

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
    train, test, lacking, tested = images.train, images.test, None, None
    if train.labels is not None:
        fitted, tested, note = _labelled(train, test, config, seed)
        parts = (train.rows(fitted), test if tested is None and test is not None else train.rows(_rows(tested)))
        lacking = _too_few(*parts)
    if train.labels is not None and lacking is None:
        classes = int(train.labels.max()) + 1
        shown = "test images" if config.validation_images is None else "validation images"
    else:
        if lacking is not None:
            train, test = replace(train, labels=None), None if test is None else replace(test, labels=None)
            if distributed.rank() == 0:
                console.say(f"evaluation: nothing is measured by the labels: there are {lacking}")
        part = train.rows(subset(len(train), config.train_images, seed=seed))
        parts, classes, note = (part, test or part), 0, "without labels"
        shown = "images" if test is None else "test images"
    held = fraction_of_each(parts[0].labels, config.holdout) if classes else np.zeros(len(parts[0]), dtype=bool)
    key = files.fingerprint([split_fingerprint(part) for part in parts])
    return Task(parts[0], parts[1], classes, held, note, key, seed, shown)


def set_apart(images: Images, config: EvaluateConfig, *, seed: int) -> np.ndarray:
    """The train images that an evaluation tests on, int64: no training may see their labels. Empty: none."""
    return _rows(None if images.train.labels is None else _labelled(images.train, images.test, config, seed)[1])


def _rows(found: np.ndarray | None) -> np.ndarray:
    return np.empty(0, np.int64) if found is None else found


def _labelled(
    train: Split, test: Split | None, config: EvaluateConfig, seed: int
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Return the rows of ``train`` to fit on and those to test on, int64 (None: the test part), and their story."""
    assert train.labels is not None
    known, tested = np.flatnonzero(train.labels >= 0), None
    if test is None or test.labels is None:
        is_test = fraction_of_each(train.labels[known], config.test_fraction)
        tested, known = known[is_test], known[~is_test]
        note = f"{len(tested)} images that were set apart from train, class by class (the source has no test part)"
    else:
        note = f"the source's {len(test)} test images"
    fitted = subset(len(known), config.train_images, seed=seed)
    if config.validation_images is not None and train.has("validation"):
        part = np.asarray(train.column("validation"), bool)[known]
        held = np.flatnonzero(part)[subset(int(part.sum()), config.validation_images, seed=seed)]
        tested, fitted = known[held], np.intersect1d(fitted, np.flatnonzero(~part))
        note = f"{len(tested)} images of the source's validation part"
    elif config.validation_images is not None:
        if (left := max(len(known) - config.validation_images, 0)) < 2:
            raise UserError(
                f"--evaluate.validation_images {config.validation_images} leaves {left} of {len(known)} labelled train "
                f"images to fit on; choose at most {len(known) - 2}"
            )
        kept = _kept(known, config.validation_images, len(train), seed)
        tested, fitted = known[~kept], np.intersect1d(fitted, np.flatnonzero(kept))
        note = f"{len(tested)} validation images that were held out of train"
    return known[fitted], tested, note


def _kept(known: np.ndarray, held: int, total: int, seed: int) -> np.ndarray:
    """Choose which of the ``known`` of all train images are not held out, so that ``held`` are: bool [known].

    Smaller subsets lie in larger ones of the same length: what a subset of all images lacks, no stage that takes only
    some of the images has seen.
    """
    least, most = 0, total  # images that stages may take; fewer hold out more
    while least < most:
        middle = (least + most + 1) // 2
        enough = np.count_nonzero(~np.isin(known, subset(total, middle, seed=seed))) >= held
        least, most = (middle, most) if enough else (least, middle - 1)
    return np.isin(known, subset(total, least, seed=seed))


def _too_few(fitted: Split, tested: Split) -> str | None:
    """Say why nothing can be measured by these labels; None: something can."""
    counts = np.unique(np.asarray(fitted.labels), return_counts=True)[1]
    if len(tested) and len(counts) > 1 and counts.max() > 1:
        return None
    most = counts.max(initial=0)
    return f"labels of {len(counts)} classes with {most} images at most to fit on, and {len(tested)} to test on"


def fraction_of_each(labels: np.ndarray | None, fraction: float) -> np.ndarray:
    """Mark a ``fraction`` of every class in ``labels`` int64 [N], evenly, at least one of two or more; bool [N]."""
    assert labels is not None
    marked = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        marked[rows[np.linspace(0, len(rows) - 1, count + 2).round().astype(int)[1:-1]] if count > 0 else []] = True
    return marked
