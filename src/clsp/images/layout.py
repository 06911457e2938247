"""What the folders of an image folder mean: parts and labels, read from relative paths alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from clsp.errors import UserError, suggest
from clsp.images.levels import Level, composed, in_parts, level_of, photographs
from clsp.images.parts import holds_images, part_of
from clsp.images.told import counted, folders, some

_STRAYS = 0.25
"""Images in no class folder, for each that lies in one, up to which they are strays that cost the others no label."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which files form which part, and their labels."""

    train: tuple[str, ...]
    """Relative POSIX paths, in the order given."""
    test: tuple[str, ...] = ()
    """Likewise; empty where there is no test part."""
    train_labels: np.ndarray | None = None
    """int64 [len(train)], or None; -1 where an image has no label."""
    test_labels: np.ndarray | None = None
    """int64 [len(test)], or None."""
    classes: tuple[str, ...] | None = None
    """Folder names, sorted; None where there are no labels."""
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What else is known of images, from a table: by the column's name and the image's."""
    notes: tuple[str, ...] = ()
    """What was decided."""


def find_layout(names: Sequence[str], *, labels: bool = True) -> Layout:
    """Recognise ``train/CLASS/..`` with perhaps ``test/CLASS/..`` (or ``val/``), and ``CLASS/..``.

    The parts may have other names (`clsp.images.parts`), all may lie in one more folder, a few images may lie in no
    class folder, and the images of a class may lie deeper: the first folder is the label. What was decided is noted.

    Args:
        names: relative POSIX paths of the images.
        labels: False: folder names are not read as labels; train and test remain parts.

    Raises:
        UserError: a class of the test part is absent from the train part, or there are parts but none to train on.
    """
    level, beside, notes = photographs(level_of(names, ""))
    names = [name for name in names if name not in beside] if beside else names
    if in_parts(level):
        return _with_parts(names, level, labels, notes)
    parts = [name for name in level.folders if part_of(name)]
    if len(parts) > 1 and len(parts) == len(level.folders):
        raise UserError(
            f"the folder holds {folders(parts)} but no train/: rename the one to train on to train, "
            f"or give one of them as --data, such as --data FOLDER/{level.prefix}{parts[0]}"
        )
    if not labels:
        return Layout(train=tuple(names), notes=notes)
    found, why = _classes(level, alone=True)
    if not found:
        return Layout(train=tuple(names), notes=(*notes, *why))
    return _labelled(tuple(names), (), found, {}, (*notes, *why))


def _classes(level: Level, *, alone: bool, least: int = 2) -> tuple[dict[str, str], tuple[str, ...]]:
    """Read folders as classes.

    Args:
        level: the folders.
        alone: whether nothing but the folders says so: no part is named.
        least: classes that there must be.

    Returns:
        The label of each name that has one, empty where the folders are no classes; and what was decided.
    """
    sizes = {folder: len(level.inside[folder]) for folder in level.folders}
    single = [folder for folder, size in sizes.items() if size == 1]
    if len(sizes) < least or (len(sizes) == 1 and holds_images(level.folders[0])):
        return {}, ()
    none = "no labels are read from the folder names"
    if len(level.loose) > level.filed * (_STRAYS if alone else 1.0):
        outside = f"{len(level.loose):,} of {len(level.loose) + level.filed:,} images lie in no folder"
        return {}, (f"{none}: {outside}; --images.labels FILE reads them from a table",)
    if alone and (len(sizes) - len(single) < 2 or len(single) > len(sizes) / 2):
        held = "one image only" if len(single) > 1 else f"one image only: {single[0]}/"
        return {}, (f"{none}: {len(single)} of {len(sizes)} folders hold {held}",)
    found = {name: composed(folder) for folder in level.folders for name in level.inside[folder]}
    return found, _oddities(level, single if alone else [])


def _oddities(level: Level, single: list[str]) -> tuple[str, ...]:
    """What breaks the convention among folders that are classes."""
    notes = []
    if level.loose:
        have = (
            "lies in no class folder and has no label" if len(level.loose) == 1 else "lie in no class folder: no label"
        )
        notes.append(f"{counted(len(level.loose), 'image')} {have}: {some(level.loose)}")
    if single:
        notes.append(f"classes of one image: {some(single)}")
    deep = [
        name
        for folder in level.folders
        for name in level.inside[folder]
        if "/" in name[len(level.prefix + folder) + 1 :]
    ]
    if deep:
        label = deep[0][len(level.prefix) :].partition("/")[0]
        notes.append(
            f"{counted(len(deep), 'image')} in deeper folders: the first folder is the label ({deep[0]}: {label})"
        )
    return tuple(notes)


def _with_parts(names: Sequence[str], level: Level, labels: bool, beside: tuple[str, ...]) -> Layout:
    """Read parts and their classes; ``beside`` says what was left out before."""
    by_part: dict[str, list[str]] = {}
    for folder in level.folders:
        by_part.setdefault(part_of(folder) or "", []).append(folder)
    train, known, told, dropped = _part(level, by_part["train"], labels)
    classes = set(known.values())
    test: list[str] = []
    served: list[str] = []
    for part in ("test", "val"):
        found, labelled, oddities, more = _part(level, by_part.get(part, []), labels, classes)
        if found and not test and (labelled or not known):
            test, served, tested = (
                [name for name in found if name in labelled] if known else found,
                by_part[part],
                labelled,
            )
            told += tuple(note for note in oddities if "no label" not in note)
            dropped |= more
    counts = f"{counted(len(train), 'image')} in {folders(by_part['train'])}"
    notes: tuple[str, ...] = (
        (f"{counts}, {len(test):,} in {folders(served)}",) if test else (f"{counts}, no test part",)
    )
    taken = {*train, *test, *dropped}
    if left := [name for name in names if name not in taken]:
        notes += (_left_note(level, left, by_part["train"]),)
    if known:
        _require_known(known, tested if test else {}, folders(by_part["train"]), folders(served))
        return _labelled(tuple(train), tuple(test), known, tested if test else {}, beside + told + notes)
    return Layout(train=tuple(train), test=tuple(test), notes=beside + told + notes)


def _part(
    level: Level, chosen: Sequence[str], labels: bool, classes: Collection[str] = ()
) -> tuple[list[str], dict[str, str], tuple[str, ...], set[str]]:
    """Names, labels and notes of the folders of one part, each of which may hold its classes in one more folder.

    The last of what is returned are names that are no photographs, which the notes tell.


    Of the train part there are at least two classes; the test part may have one of those ``classes`` alone.
    """
    names: list[str] = []
    found: dict[str, str] = {}
    notes: list[str] = []
    dropped: set[str] = set()
    for folder in chosen:
        within = level_of(level.inside[folder], f"{level.prefix}{folder}/")
        inside, beside, left = photographs(within, classes)
        names += [name for name in level.inside[folder] if name not in beside]
        dropped |= beside
        notes += left
        if labels:
            more, told = _classes(inside, alone=False, least=1 if classes else 2)
            found |= more
            notes += told
    return names, found, tuple(notes), dropped


def _left_note(level: Level, left: Sequence[str], train: Sequence[str]) -> str:
    """Which images belong to no part, by their folders."""
    where = Counter(
        f"{level.prefix}{first}/" if slash else name
        for name in left
        for first, slash, _ in [name.removeprefix(level.prefix).partition("/")]
    )
    what = some([f"{place} ({count:,})" if place.endswith("/") else place for place, count in where.most_common()])
    belong, are = ("belongs", "is") if len(left) == 1 else ("belong", "are")
    neither = f"neither to {folders(train)} nor to the test part"
    return f"{counted(len(left), 'image')} that {belong} {neither} {are} left out: {what}"


def _require_known(known: dict[str, str], tested: dict[str, str], train: str, test: str) -> None:
    """Refuse a test part with a class that the train part lacks."""
    classes = sorted(set(known.values()))
    if strange := sorted(set(tested.values()) - set(classes)):
        raise UserError(
            f"class '{strange[0]}' of {test} has no folder in {train}, which has {_some(classes)}"
            f"{suggest(strange[0], classes)}: add it, remove it, or ignore labels with --images.labels none"
        )


def _labelled(
    train: tuple[str, ...], test: tuple[str, ...], known: dict[str, str], tested: dict[str, str], notes: tuple[str, ...]
) -> Layout:
    """Number the classes of the train part, and those of the test part alike."""
    classes = tuple(sorted(set(known.values())))
    number = {name: index for index, name in enumerate(classes)}
    decided = f"labels read from the folder names: {len(classes)} classes; --images.labels none ignores them"
    return Layout(
        train=train,
        test=test,
        train_labels=np.array([number[known[name]] if name in known else -1 for name in train], np.int64),
        test_labels=np.array([number[tested[name]] for name in test], np.int64) if test else None,
        classes=classes,
        notes=(decided, *notes),
    )


def _some(classes: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in classes[:5]) + (", ..." if len(classes) > 5 else "")
