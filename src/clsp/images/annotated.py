"""A layout with the labels, parts and columns of a table in place of what the folders say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from clsp.images.annotations import PARTS, Annotations, part_of_table
from clsp.images.labels import numbered
from clsp.images.layout import Layout
from clsp.images.parts import part_of
from clsp.images.told import counted, some

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]{1,2})?", re.IGNORECASE)


def annotated(source: str, layout: Layout, found: Annotations) -> Layout:
    """Give the images of a layout what tables say of them.

    Train images without a label get -1. The test part serves to measure: where train has labels, test images without
    one are left out. Where the folders do not part the images, a column ``split`` does, or tables called like parts.

    Args:
        source: the SOURCE as the user named it.
        layout: without labels where ``found`` has some.
        found: what tables say.

    Raises:
        UserError: the test part has a label that the train part lacks.
    """
    layout = replace(layout, columns=found.columns, notes=(*found.notes, *layout.notes))
    if not layout.test:
        layout = _parted(layout, found)
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


def _parted(layout: Layout, found: Annotations) -> Layout:
    """Part the images by a column of parts, else by tables that are called like parts."""
    for name in PARTS.split():
        said = {image: value for image, value in layout.columns.get(name, {}).items() if value}
        parts = {image: part_of(value) for image, value in said.items()}
        named = set(parts.values())
        if named == {"train"} or not named - {None}:
            continue  # it speaks of one part, or of something else
        if None not in named and "train" in named:
            return _by_parts(layout, {image: part or "" for image, part in parts.items()}, f"the column '{name}'")
        odd = [value for image, value in said.items() if parts[image] is None]
        why = f"it says '{odd[0]}' of {counted(odd.count(odd[0]), 'image')}" if odd else "it says train of no image"
        note = f"the column '{name}' is not read as parts: {why}; values such as train, val and test are"
        layout = replace(layout, notes=(*layout.notes, note))
    return _by_tables(layout, found)


def _by_tables(layout: Layout, found: Annotations) -> Layout:
    """Part the images by tables such as ``train.csv`` and ``test.csv``; images that none of them names stay in train.

    A table of test images without labels makes no test part, for nothing could be measured on it.
    """
    parts = dict.fromkeys(layout.train, "train")
    for wanted in ("val", "test"):  # what several name is tested on, not trained on
        for table, images in found.parts.items():
            labelled = layout.train_labels is not None or any(image in found.labels for image in images)
            if part_of_table(table) == wanted and (labelled or not found.labels):
                parts |= dict.fromkeys(images, wanted)
    train = [image for image, part in parts.items() if part == "train"]
    if len(train) in (0, len(parts)) or (found.labels and not any(image in found.labels for image in train)):
        return layout
    return _by_parts(layout, parts, " and ".join(found.parts))


def _by_parts(layout: Layout, parts: Mapping[str, str], told: str) -> Layout:
    """Part the images as ``parts`` says; images of other parts, or of none, are left out."""
    served = "test" if "test" in parts.values() else "val"
    known = None if layout.train_labels is None else dict(zip(layout.train, layout.train_labels))
    train = tuple(image for image in layout.train if parts.get(image) == "train")
    test = tuple(image for image in layout.train if parts.get(image) == served)
    test = tuple(image for image in test if known is None or known[image] >= 0)
    note = f"parts from {told}: {counted(len(train), 'image')} in train, {len(test):,} in {served}"
    left = len(layout.train) - len(train) - len(test)
    more = (f"{counted(left, 'image')} of other parts, of none, or without a label left out",) if left else ()
    return replace(
        layout,
        train=train,
        test=test,
        train_labels=None if known is None else np.array([known[image] for image in train], np.int64),
        test_labels=None if known is None else np.array([known[image] for image in test], np.int64),
        notes=(*layout.notes, note, *more),
    )


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
