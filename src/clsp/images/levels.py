"""The folders of an image folder, level by level: where the photographs lie, and what lies beside them and is none."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clsp.images.parts import drawn_beside, holds_images, is_annotation, is_parted, part_of
from clsp.images.told import counted, some


@dataclass(frozen=True)
class Level:
    """What lies at one level of the folders."""

    prefix: str
    """Of all names here: empty, or it ends in ``/``."""
    inside: dict[str, list[str]]
    """Names by the folder that they lie in; those in none by the empty name."""

    @property
    def loose(self) -> list[str]:
        """Names that lie in no folder."""
        return self.inside.get("", [])

    @property
    def folders(self) -> list[str]:
        """The folders, sorted."""
        return sorted(name for name in self.inside if name)

    @property
    def filed(self) -> int:
        """How many images lie in folders."""
        return sum(len(self.inside[name]) for name in self.folders)


def composed(name: str) -> str:
    """One spelling of letters with accents: macOS writes them in two parts."""
    return unicodedata.normalize("NFC", name)


def photographs(level: Level, classes: Collection[str] = ()) -> tuple[Level, set[str], tuple[str, ...]]:
    """Go into folders that hold all others, and leave out what is no photograph: beside them, and inside classes.

    Returns:
        The level below without it, its names, and notes that say so.
    """
    level, beside = _entered(level, classes)
    deep = [name for folder in level.folders for name in level.inside[folder]]
    drawn = set() if in_parts(level) else drawn_beside(deep, level.prefix.count("/") + 1)
    if drawn:
        inside = {folder: [name for name in names if name not in drawn] for folder, names in level.inside.items()}
        level = Level(level.prefix, {folder: names for folder, names in inside.items() if names})
    notes = (*_left_out(beside, f"beside {level.prefix}"), *_left_out(drawn, "in folders beside images"))
    return level, beside | drawn, notes


def level_of(names: Sequence[str], prefix: str) -> Level:
    """What lies in the folder ``prefix``, which is empty or ends in ``/``."""
    inside: dict[str, list[str]] = {}
    for name in names:
        if name.startswith(prefix):
            first, slash, _ = name[len(prefix) :].partition("/")
            inside.setdefault(first if slash else "", []).append(name)
    return Level(prefix, inside)


def _entered(level: Level, classes: Collection[str] = ()) -> tuple[Level, set[str]]:
    """Go into folders that hold all others, but into no folder of ``classes``.

    Returns:
        The level below, and the names beside ``images/`` that are no photographs: masks and the like.
    """
    beside: set[str] = set()
    while not in_parts(level) and not any(composed(name) in classes for name in level.folders):
        inner = [name for name in level.folders if not is_annotation(name)]
        drawn = [name for name in level.folders if is_annotation(name)]
        if len(inner) != 1 or (drawn and not holds_images(inner[0])):
            break
        below = level_of(level.inside[inner[0]], f"{level.prefix}{inner[0]}/")
        if not drawn and (not below.folders or len(level.loose) > len(level.inside[inner[0]])):
            break
        beside.update(name for folder in drawn for name in level.inside[folder])
        level = below
    return level, beside


def in_parts(level: Level) -> bool:
    """Whether the folders are parts, of which one is the train part."""
    in_classes = any(
        len(level_of(level.inside[name], f"{level.prefix}{name}/").folders) > 1
        for name in level.folders
        if part_of(name) == "train"
    )
    return is_parted(level.folders, in_classes)


def _left_out(names: set[str], where: str) -> tuple[str, ...]:
    if not names:
        return ()
    said = f"{counted(len(names), 'image')} {where} left out, they are no photographs"
    return (f"{said}: {some(sorted(names))}",)
