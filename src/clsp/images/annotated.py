"""A layout with the labels, parts and columns of a table in place of what the folders say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from clsp.images.annotations import PARTS, Annotations
from clsp.images.labels import numbered
from clsp.images.layout import Layout
from clsp.images.parts import part_of
from clsp.images.told import counted, some

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]{1,2})?", re.IGNORECASE)


def annotated(source: str, layout: Layout, found: Annotations) -> Layout:
    """Give the images of a layout what tables say of them.

    Train images without a label get -1. The test part serves to measure: where train has labels, test images without
    one are left out. A column ``split`` parts the images where the folders do not.

    Args:
        source: the SOURCE as the user named it.
        layout: without labels where ``found`` has some.
        found: what tables say.

    Raises:
        UserError: the test part has a label that the train part lacks.
    """
    layout = replace(layout, columns=found.columns, notes=(*found.notes, *layout.notes))
    if not layout.test:
        layout = _parted(layout)
    if not any(name in found.labels for name in layout.train):
        return layout
    return _labelled(source, layout, found.labels)


def columns_of(columns: Mapping[str, Mapping[str, str]], names: Sequence[str]) -> dict[str, list[object]]:
    """The columns of some images, row by row: as numbers where all are, else as text, which is empty if missing."""
    return {name: _typed([values.get(image, "") for image in names]) for name, values in columns.items()}


def _typed(values: list[str]) -> list[object]:
    """Numbers, where all are written as such; ``007`` is a name."""
    if all(_WHOLE.fullmatch(value) for value in values):
        return [int(value) for value in values]
    if all(_NUMBER.fullmatch(value) for value in values):
        return [float(value) for value in values]
    return list(values)


def _parted(layout: Layout) -> Layout:
    """Part the images by a column of parts, where all its values are such names and one of them is train."""
    for name in PARTS.split():
        column = layout.columns.get(name, {})
        parts = {image: part_of(value) for image, value in column.items()}
        if None in parts.values() or not {"train"} < set(parts.values()):
            continue
        served = "test" if "test" in parts.values() else "val"
        known = None if layout.train_labels is None else dict(zip(layout.train, layout.train_labels))
        train = tuple(image for image in layout.train if parts.get(image) == "train")
        test = tuple(image for image in layout.train if parts.get(image) == served)
        test = tuple(image for image in test if known is None or known[image] >= 0)
        note = f"parts from the column '{name}': {counted(len(train), 'image')} in train, {len(test):,} in {served}"
        left = len(layout.train) - len(train) - len(test)
        more = (f"{counted(left, 'image')} of other parts or without a label left out",) if left else ()
        return replace(
            layout,
            train=train,
            test=test,
            train_labels=None if known is None else np.array([known[image] for image in train], np.int64),
            test_labels=None if known is None else np.array([known[image] for image in test], np.int64),
            notes=(*layout.notes, note, *more),
        )
    return layout


def _labelled(source: str, layout: Layout, labels: Mapping[str, str]) -> Layout:
    """Number the labels; those that are whole numbers by their value, others in the order of the alphabet."""
    test = tuple(name for name in layout.test if name in labels)
    given = {"train": [labels[name] for name in layout.train if name in labels]}
    if test:
        given["test"] = [labels[name] for name in test]
    whole = all(_is_whole(value) for values in given.values() for value in values)
    values = {part: np.array([int(v) for v in found] if whole else found) for part, found in given.items()}
    numbers, classes = numbered(source, values)
    train = np.full(len(layout.train), -1, np.int64)
    train[np.array([name in labels for name in layout.train], bool)] = numbers["train"]
    notes = layout.notes
    if lost := [name for name in layout.test if name not in labels]:
        notes = (*notes, f"{counted(len(lost), 'test image')} without a label left out: {some(lost)}")
    return replace(
        layout,
        train_labels=train,
        test=test,
        test_labels=numbers.get("test"),
        classes=classes,
        notes=notes,
    )


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and str(int(text)) == text
