"""What the folders of an image folder mean: parts and labels, read from relative paths alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clsp.errors import UserError

TEST_FOLDERS = ("test", "val")
"""Where the test part is looked for, beside ``train``."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which files form which part, and their labels."""

    train: tuple[str, ...]
    """Relative POSIX paths, in the order given."""
    test: tuple[str, ...] = ()
    """Likewise; empty where there is no test part."""
    train_labels: np.ndarray | None = None
    """int64 [len(train)], or None."""
    test_labels: np.ndarray | None = None
    """int64 [len(test)], or None."""
    classes: tuple[str, ...] | None = None
    """Folder names, sorted; None where there are no labels."""
    notes: tuple[str, ...] = ()
    """What was decided."""


def find_layout(names: Sequence[str], *, labels: bool = True) -> Layout:
    """Recognise ``train/CLASS/..`` with perhaps ``test/CLASS/..`` (or ``val/``), and ``CLASS/x.png``.

    Args:
        names: relative POSIX paths of the images.
        labels: False: folder names are not read as labels; train and test remain parts.

    Raises:
        UserError: a class of the test part is absent from the train part.
    """
    if any(name.startswith("train/") for name in names):
        return _with_parts(names, labels)
    if labels and _one_folder_per_class(names):
        return _labelled(tuple(names), ())
    return Layout(train=tuple(names), notes=_unlabelled_note(labels))


def _one_folder_per_class(names: Sequence[str]) -> bool:
    """Every image exactly one folder deep, at least two folders, each with at least two images."""
    if any(name.count("/") != 1 for name in names):
        return False
    sizes = Counter(name.split("/")[0] for name in names)
    return len(sizes) >= 2 and min(sizes.values()) >= 2


def _with_parts(names: Sequence[str], labels: bool) -> Layout:
    train = _inside(names, "train")
    labelled = labels and _in_classes(train) and len({name.split("/")[1] for name in train}) >= 2
    test: tuple[str, ...] = ()
    for folder in TEST_FOLDERS:
        found = _inside(names, folder)
        if found and not test and (_in_classes(found) or not labelled):
            test = found
    notes: tuple[str, ...] = ()
    if test:
        notes = (f"{len(train)} images in train/, {len(test)} in {test[0].split('/')[0]}/",) if test else ()
    if left := len(names) - len(train) - len(test):
        notes += (f"{left} images that belong neither to train/ nor to the test part are left out",)
    if labelled:
        return _labelled(train, test, notes)
    return Layout(train=train, test=test, notes=notes + _unlabelled_note(labels))


def _inside(names: Sequence[str], folder: str) -> tuple[str, ...]:
    return tuple(name for name in names if name.startswith(f"{folder}/"))


def _in_classes(names: Sequence[str]) -> bool:
    return all(name.count("/") >= 2 for name in names)


def _labelled(train: tuple[str, ...], test: tuple[str, ...], notes: tuple[str, ...] = ()) -> Layout:
    level = train[0].count("/") >= 2  # CLASS is the second part of train/CLASS/x, the first of CLASS/x
    classes = tuple(sorted({name.split("/")[level] for name in train}))
    number = {name: index for index, name in enumerate(classes)}
    for name in test:
        folder, label = name.split("/")[:2]
        if label not in number:
            raise UserError(
                f"class '{label}' of {folder}/ has no folder in train/, which has {_some(classes)}: "
                "add it, remove it, or ignore labels with --images.labels none"
            )
    decided = f"labels read from the folder names: {len(classes)} classes; --images.labels none ignores them"
    return Layout(
        train=train,
        test=test,
        train_labels=np.array([number[name.split("/")[level]] for name in train], np.int64),
        test_labels=np.array([number[name.split("/")[1]] for name in test], np.int64) if test else None,
        classes=classes,
        notes=(decided, *notes),
    )


def _some(classes: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in classes[:5]) + (", ..." if len(classes) > 5 else "")


def _unlabelled_note(labels: bool) -> tuple[str, ...]:
    return () if labels else ("labels are ignored (--images.labels none)",)
