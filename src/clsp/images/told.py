"""Words for notes: how many there are, and which, without a list that fills the screen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clsp.images.imageset import Excluded

FEW = 3
"""Names that a note gives; the others are counted."""


def counted(count: int, thing: str) -> str:
    """Write ``1 image`` or ``5 images``."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def some(names: Collection[str], few: int = FEW) -> str:
    """Write the first names, and how many more there are: ``a.png, b.png and 7 more``."""
    shown, more = list(islice(names, few)), len(names) - few
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def folders(names: Iterable[str]) -> str:
    """Write folders as such: ``train/ and train-b/``."""
    return " and ".join(f"{name}/" for name in names)


def excluded_note(excluded: Sequence[Excluded]) -> str:
    """Say how many files were left out, and of the first ones why."""
    why = some([f"{entry.name} ({entry.reason})" for entry in excluded])
    are = "is" if len(excluded) == 1 else "are"
    return f"{counted(len(excluded), 'file')} could not be read and {are} left out: {why}"
