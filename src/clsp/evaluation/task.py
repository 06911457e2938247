"""The task of an evaluation: which images are fitted on, held out to choose on, and tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from clsp import console, distributed, files
from clsp.errors import UserError
from clsp.evaluation.apart import GROUP, flags, fraction_of_each, groups_of, held_out
from clsp.evaluation.config import EvaluateConfig
from clsp.images.imageset import Images, Split, split_fingerprint, subset, taking_order


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
    class. With ``config.validation_images`` train images are tested on instead. Images of one ``group`` stay together.
    Without labels all images serve, for the map and the neighbours alone.

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
    held = (
        held_out(parts[0].labels, config.holdout, groups_of(parts[0]))
        if classes
        else np.zeros(len(parts[0]), dtype=bool)
    )
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
        groups = groups_of(train, known)
        is_test = fraction_of_each(train.labels[known], config.test_fraction, groups)
        tested, known = known[is_test], known[~is_test]
        each = "" if groups is None else ", in whole groups"
        note = (
            f"{len(tested)} images that were set apart from train, class by class{each} (the source has no test part)"
        )
    else:
        note = f"the source's {len(test)} test images"
    fitted = subset(len(known), config.train_images, seed=seed)
    if config.validation_images is not None:
        is_tested, is_fitted, note = _validation(train, known, config.validation_images, seed)
        tested, fitted = known[is_tested], np.intersect1d(fitted, np.flatnonzero(is_fitted))
    return known[fitted], tested, note


def _validation(train: Split, known: np.ndarray, held: int, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Which of the ``known`` train images are tested on in the test images' place, and which are fitted on.

    Returns:
        Two of bool [known], and the story of the first.

    Raises:
        UserError: too few are left to fit on.
    """
    if train.has("validation"):
        part = flags(train, "validation")[known]
        tested = np.zeros(len(known), bool)
        tested[np.flatnonzero(part)[subset(int(part.sum()), held, seed=seed)]] = True
        return tested, ~part, f"{tested.sum()} images of the source's validation part"
    if (left := max(len(known) - held, 0)) < 2:
        raise UserError(_leaves(held, left, len(known), f"choose at most {len(known) - 2}"))
    groups = groups_of(train, known)
    if groups is None:
        kept = _kept(known, held, len(train), seed)
        return ~kept, kept, f"{len(known) - kept.sum()} validation images that were held out of train"
    tested, apart = _last_groups(known, groups, held, len(train), seed)
    if (left := int((~apart).sum())) < 2:
        why = f"images of one '{GROUP}' stay together, and the largest has {np.bincount(groups).max()}: choose fewer"
        raise UserError(_leaves(held, left, len(known), why))
    return tested, ~apart, f"{held} validation images that were held out of train, in whole groups"


def _leaves(held: int, left: int, known: int, fix: str) -> str:
    return f"--evaluate.validation_images {held} leaves {left} of {known} labelled train images to fit on; {fix}"


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


def _last_groups(
    known: np.ndarray, groups: np.ndarray, held: int, total: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out the groups of the images that a subset of all takes last, until they have ``held`` images.

    Returns:
        Which of the ``known`` are the last ``held`` images of these groups, and which lie in them: two of bool [known].
    """
    last_first = np.argsort(-np.argsort(taking_order(total, seed=seed))[known])
    sizes = np.bincount(groups)
    found = list(dict.fromkeys(groups[last_first].tolist()))
    count = int(np.searchsorted(np.cumsum(sizes[found]), held)) + 1
    apart = np.isin(groups, found[:count])
    tested = np.zeros(len(known), bool)
    tested[last_first[apart[last_first]][:held]] = True
    return tested, apart


def _too_few(fitted: Split, tested: Split) -> str | None:
    """Say why nothing can be measured by these labels; None: something can."""
    counts = np.unique(np.asarray(fitted.labels), return_counts=True)[1]
    if len(tested) and len(counts) > 1 and counts.max() > 1:
        return None
    most = counts.max(initial=0)
    said = f"labels of {len(counts)} classes with {most} images at most to fit on, and {len(tested)} to test on"
    return said if groups_of(fitted) is None else f"{said} (images of one '{GROUP}' stay together)"
