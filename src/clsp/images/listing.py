"""The files of a folder: which are images, which are tables, and what is passed over."""

from __future__ import annotations

import heapq
import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from clsp.images.imageset import Excluded
from clsp.images.opening import SUFFIXES as SUFFIXES
from clsp.images.opening import is_image
from clsp.images.told import counted, some

TABLES = ("csv", "tsv", "jsonl", "ndjson")
"""Files that may say what the images are."""

_OURS = ({"stage.json"}, {"recipe.yaml", "images.json"})
"""Files that show a folder to be a stage or a run of clsp."""

_PICTURES = ("samples.png", "sheet.png", "views.png", "neighbours.png", "map_thumbnails.png")
"""Pictures that clsp draws, where the folder of the images itself is such a folder."""

_TWICE = "links to images that are there"

Stamp = tuple[int, int, int]
"""Size in bytes, time of the last change of the content and of the entry in ns."""


@dataclass(kw_only=True)
class Listing:
    """The files of a folder."""

    found: list[tuple[str, Stamp]] = field(default_factory=list)
    """Relative POSIX path and stamp of the files with an image's suffix, sorted."""
    ignored: Counter[str] = field(default_factory=Counter)
    """How many files of each other kind there are: ``hidden``, or their suffix, or their name."""
    tables: list[str] = field(default_factory=list)
    """Relative paths of tables, sorted."""
    ours: list[str] = field(default_factory=list)
    """Relative paths of folders that clsp made."""
    closed: list[Excluded] = field(default_factory=list)
    """Folders that cannot be entered, and files that are none."""

    @property
    def names(self) -> tuple[str, ...]:
        """Relative POSIX paths of the images."""
        return tuple(name for name, _ in self.found)

    @property
    def stamps(self) -> tuple[Stamp, ...]:
        """Their stamps."""
        return tuple(stamp for _, stamp in self.found)

    def told(self, read: Iterable[str]) -> tuple[str, ...]:
        """What was passed over, as notes; the tables ``read``, by their relative paths, were not."""
        notes = []
        ignored = self.ignored - Counter(Path(name).suffix.lower() for name in read)
        if self.ours:
            notes.append(f"results of clsp among the images left out: {some(self.ours)}")
        if count := ignored.total():
            kinds = ", ".join(f"{number} {kind}" for kind, number in ignored.most_common(5))
            why = "is ignored because it is no image" if count == 1 else "are ignored because they are no images"
            notes.append(f"{counted(count, 'file')} {why}: {kinds}")
        return tuple(notes)


def list_images(folder: Path) -> Listing:
    """List the images in ``folder``, however nested.

    Links are followed, each folder once and each image once; where one has a place of its own in ``folder``, it is
    listed there. Hidden files and folders are left out, and so is what clsp itself made there: a run that lies among
    its own data is no data.
    """
    listing = Listing()
    entered: set[tuple[int, int]] = set()
    linked: list[tuple[str, os.stat_result]] = []
    taken: set[tuple[int, int]] = set()
    waiting = [(False, "")]  # real folders before links, then by name
    while waiting:
        behind, prefix = heapq.heappop(waiting)
        entries = _entries(folder, prefix, entered, listing)
        for entry in entries:
            if entry.name.startswith("."):
                listing.ignored["hidden"] += 1
            elif _is_folder(entry):
                heapq.heappush(waiting, (behind or entry.is_symlink(), f"{prefix}{entry.name}/"))
            else:
                _take(entry, prefix, listing, linked, taken)
    for name, status in sorted(linked):
        _take_link(name, status, listing, taken)
    listing.found.sort()
    listing.tables.sort()
    return listing


def _entries(folder: Path, prefix: str, entered: set[tuple[int, int]], listing: Listing) -> list[os.DirEntry[str]]:
    """What lies in a folder; nothing where it was entered before, cannot be entered, or was made by clsp."""
    place = folder / prefix
    try:
        status = place.stat()
        if (here := (status.st_dev, status.st_ino)) in entered:
            return []
        with os.scandir(place) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        if not prefix:
            raise
        listing.closed.append(Excluded(name=prefix, reason=f"the folder cannot be entered: {error.strerror or error}"))
        return []
    entered.add(here)
    names = {entry.name for entry in entries}
    if not any(names >= marks for marks in _OURS):
        return entries
    if prefix:
        listing.ours.append(prefix)
        return []
    return [entry for entry in entries if entry.name not in _PICTURES]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _take(
    entry: os.DirEntry[str],
    prefix: str,
    listing: Listing,
    linked: list[tuple[str, os.stat_result]],
    taken: set[tuple[int, int]],
) -> None:
    """Sort one file in."""
    name, suffix = prefix + entry.name, Path(entry.name).suffix.lower()
    if not is_image(entry.name):
        listing.ignored[suffix or entry.name] += 1
        if suffix.lstrip(".") in TABLES:
            listing.tables.append(name)
        return
    try:
        status = entry.stat()
    except OSError:  # a link that leads nowhere or to itself: listed among the unreadable files
        listing.found.append((name, (0, 0, 0)))
        return
    if not stat.S_ISREG(status.st_mode):  # to open a pipe is to wait for ever
        listing.closed.append(Excluded(name=name, reason="no file, but a pipe, socket or device"))
    elif entry.is_symlink():
        linked.append((name, status))
    else:
        taken.add((status.st_dev, status.st_ino))
        listing.found.append((name, _stamp(status)))


def _take_link(name: str, status: os.stat_result, listing: Listing, taken: set[tuple[int, int]]) -> None:
    """List what a link leads to, unless it is listed already."""
    here = (status.st_dev, status.st_ino)
    if status.st_ino and here in taken:
        listing.ignored[_TWICE] += 1
        return
    taken.add(here)
    listing.found.append((name, _stamp(status)))


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
