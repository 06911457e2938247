"""Labels and more from a table beside the images, or one that the user names: ``metadata.csv``, ``labels.csv``."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clsp.errors import UserError, suggest
from clsp.images.matching import Matcher
from clsp.images.parts import part_of
from clsp.images.tables import SUFFIXES, Table, read_table
from clsp.images.told import counted, some

AUTO = "auto"
NONE = "none"
"""The values of ``images.labels`` that name no file."""

_NAMES = ("metadata", "labels", "label", "annotations", "annotation")
"""Stems of tables that are read where they lie among the images; ``train.csv`` beside ``train/`` is one, too."""

IMAGES = "file_name filename file image_path img_path filepath path image_file image_name image img image_id img_id id"
LABELS = "label labels class classes class_name class_id category category_name categories target species diagnosis dx"
PARTS = "split part subset set"
"""Columns by their names, in lower case with ``_`` between the words, the first that is there."""

_TRIED = 1000
"""Rows by which the column of images is found."""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What tables say of images, by the image's name."""

    labels: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Every further column, by its name in lower case."""
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The images that a table names which is called like a part, by the table: ``test.csv``."""
    read: tuple[Path, ...] = ()
    """The tables that say this."""
    notes: tuple[str, ...] = ()


def is_table(name: str) -> bool:
    """Whether a file among the images is read as a table without being asked for."""
    stem, suffix = posixpath.splitext(posixpath.basename(name).casefold())
    return suffix in SUFFIXES and suffix != ".txt" and (stem in _NAMES or part_of_table(name) is not None)


def part_of_table(told: str) -> str | None:
    """The part that a table is called like: ``test`` of ``test.csv`` and ``test_labels.csv``."""
    stem = posixpath.splitext(posixpath.basename(told).casefold())[0]
    return part_of(re.sub(r"[\W_]*labels?$", "", stem))


def named_file(option: str, folder: Path) -> tuple[Path, list[str]]:
    """Return the file that ``--images.labels FILE``, ``FILE:LABEL`` or ``FILE:IMAGE,LABEL`` names, and the columns.

    Raises:
        UserError: there is no such file.
    """
    for text, chosen in ((option, ""), option.rpartition(":")[::2]):
        for place in (Path(text).expanduser(), folder / text):
            if text and place.is_file():
                return place, [column.strip() for column in chosen.split(",")] if chosen else []
    if any(posixpath.splitext(text)[1].casefold() in SUFFIXES for text in (option, option.rpartition(":")[0])):
        raise UserError(
            f"--images.labels '{option}': there is no such file, neither from here ({Path.cwd()}) nor in {folder}; "
            "give the path of one"
        )
    raise UserError(
        f"--images.labels '{option}' is neither {AUTO}, {NONE} nor a file of labels ({', '.join(SUFFIXES)}); "
        "FILE:COLUMN names its column of labels"
    )


def annotate(
    names: Sequence[str], tables: Sequence[tuple[Path, str, Sequence[str]]], suffixes: Sequence[str], *, stated: bool
) -> Annotations:
    """Read what tables say of images.

    Args:
        names: relative POSIX paths of the images.
        tables: of each its file, its path relative to the images (or as the user named it), and stated columns.
        suffixes: what files of images end in.
        stated: whether the user named them: then a table that says nothing is an error.

    Raises:
        UserError: a stated table cannot be used.
    """
    labels: dict[str, str] = {}
    columns: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    parts: dict[str, Sequence[str]] = {}
    read: dict[str, Path] = {}
    seen: set[str] = set()
    for path, told, wanted in tables:
        try:
            table = read_table(path, told)
            found = _Reading(table, names, Matcher(names, suffixes, _bases(told, names)), wanted)
        except UserError as error:
            if stated:
                raise UserError(f"--images.labels: {error}") from error
            notes.append(f"{told} is not read: {error}")
            continue
        labels |= found.labels
        for column, values in found.columns.items():
            columns.setdefault(column, {}).update(values)
        notes += found.notes
        read[told] = path
        seen |= found.seen
        if part_of_table(told):
            parts[told] = [name for name in names if name in found.seen]
    if read and (bare := [name for name in names if name not in seen]):
        notes.append(f"{counted(len(bare), 'image')} without a row in {' or '.join(read)}: {some(bare)}")
    return Annotations(labels=labels, columns=columns, parts=parts, read=tuple(read.values()), notes=tuple(notes))


def _bases(told: str, names: Sequence[str]) -> list[str]:
    """Folders that a table's paths may be relative to: its own, and the part that it is named for."""
    own = posixpath.dirname(told)
    own = f"{own}/" if own else ""
    part = part_of_table(told)
    inside = {name[len(own) :].partition("/")[0] for name in names if name.startswith(own) and "/" in name[len(own) :]}
    return [*(f"{own}{folder}/" for folder in sorted(inside) if part and part_of(folder) == part), own]


def _plain(name: str) -> str:
    """The name of a column in lower case with ``_`` between the words."""
    return re.sub(r"\W+|_+", "_", name.strip().casefold()).strip("_")


def _is_head(row: Sequence[str]) -> bool:
    """Whether a row names a column of images and one of labels, though a file may be called ``image.png``."""
    names = set(map(_plain, row))
    return not names.isdisjoint(IMAGES.split()) and not names.isdisjoint(LABELS.split())


class _Reading:
    """One table, read: which columns are what, and which rows belong to which images."""

    def __init__(self, table: Table, names: Sequence[str], matcher: Matcher, wanted: Sequence[str]) -> None:
        self.told, self._matcher = table.told, matcher
        headed = table.headed or _is_head(table.rows[0]) or all(matcher.find(cell) is None for cell in table.rows[0])
        self._head = table.rows[0] if headed else [f"column {k + 1}" for k in range(len(table.rows[0]))]
        self._rows = table.rows[1:] if headed else table.rows
        self._plain = [_plain(name) for name in self._head]
        image = self._image_column(wanted[0] if len(wanted) > 1 else None)
        label = self._label_column(image, wanted[-1] if wanted else None)
        self.labels: dict[str, str] = {}
        self.columns: dict[str, dict[str, str]] = {}
        self.notes = list(table.notes)
        self._take(names, image, label)

    def _image_column(self, stated: str | None) -> int:
        """The column that names images: the stated one, else one that is called so, else one that does."""
        if stated is not None:
            return self._stated(stated)
        tried = self._rows[:_TRIED]
        hits = [sum(self._matcher.find(row[k]) is not None for row in tried) for k in range(len(self._head))]
        called = [k for name in IMAGES.split() for k, plain in enumerate(self._plain) if plain == name and hits[k]]
        best = max(called or range(len(hits)), key=lambda k: hits[k])
        if hits[best] == 0 or (not called and hits[best] < len(tried) / 2):
            raise UserError(f"no column of {self.told} names the images; its columns are {self._columns()}")
        return best

    def _label_column(self, image: int, stated: str | None) -> int | None:
        """The column of labels: the stated one, else one that is called so, else the only other one."""
        if stated is not None:
            return self._stated(stated)
        for name in LABELS.split():
            if name in self._plain and self._plain.index(name) != image:
                return self._plain.index(name)
        others = [k for k in range(len(self._head)) if k != image and self._plain[k] not in PARTS.split()]
        known = ("caption", "text", "time", "group", "validation", "video", "noisy_label", "pair")
        return others[0] if len(others) == 1 and self._plain[others[0]] not in known else None

    def _stated(self, name: str) -> int:
        if name in self._head:
            return self._head.index(name)
        raise UserError(f"{self.told} has no column '{name}'{suggest(name, self._head)}; it has {self._columns()}")

    def _columns(self) -> str:
        return some([name or "(no name)" for name in self._head], 12)

    def _take(self, names: Sequence[str], image: int, label: int | None) -> None:
        """Give every row to its image; the first of several rows of one image counts."""
        taken = self.seen = set[str]()
        lost, again = [], 0
        columns = {
            k: plain for k, plain in enumerate(self._plain) if k not in (image, label) and plain not in ("", "label")
        }
        for row in self._rows:
            number = self._matcher.find(row[image])
            if number is None:
                lost.append(row[image])
                continue
            name = names[number]
            again += name in taken
            if name in taken:
                continue
            taken.add(name)
            if label is not None and row[label]:
                self.labels[name] = row[label]
            for k, plain in columns.items():
                self.columns.setdefault(plain, {})[name] = row[k]
        self._tell(image, label, lost, again)

    def _tell(self, image: int, label: int | None, lost: list[str], again: int) -> None:
        count = len(self.seen)
        if not count:
            raise UserError(f"no row of {self.told} names an image (such as '{lost[0]}' in '{self._head[image]}')")
        read = f"images by '{self._head[image]}'"
        if label is not None:
            read += f", labels by '{self._head[label]}' ({len(set(self.labels.values())):,} classes)"
        read += f", and {some(list(self.columns), 6)}" if self.columns else ""
        self.notes.append(f"{self.told} is read for {counted(count, 'image')}: {read}; --images.labels none ignores it")
        if label is None:
            told = f"{self.told} has no column that is known to hold labels ({self._columns()})"
            self.notes.append(f"{told}; --images.labels {self.told}:COLUMN names one")
        if lost:
            self.notes.append(f"{counted(len(lost), 'row')} of {self.told} without an image: {some(lost)}")
        if again:
            self.notes.append(f"{counted(again, 'row')} of {self.told} for an image that has one: the first counts")
