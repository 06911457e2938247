"""A folder of images: which files count, which cannot be read, and the plan to decode the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from clsp import files
from clsp.errors import UserError
from clsp.images import medical
from clsp.images import store as stores
from clsp.images.config import ImagesConfig
from clsp.images.decode import Decoded, Header, UnreadableImage, decode_file, read_header, strict_pillow
from clsp.images.geometry import choose_channels, choose_size, limit_note
from clsp.images.imageset import Excluded, Images, subset
from clsp.images.layout import Layout, find_layout
from clsp.images.opening import SUFFIXES, is_image
from clsp.images.survey import survey
from clsp.images.tones import Tones

_OURS = ({"stage.json"}, {"recipe.yaml", "images.json"})
"""Files that show a folder to be a stage or a run of clsp."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a folder."""

    names: tuple[str, ...]
    """Relative POSIX paths of the files with an image's suffix, sorted."""
    stamps: tuple[tuple[int, int], ...]
    """Size in bytes and modification time in ns of each."""
    ignored: Counter[str]
    """How many files of each other kind there are: ``hidden``, or their suffix, or their name."""


def list_images(folder: Path) -> Listing:
    """List the images in ``folder``, however nested.

    Links are followed, each folder once. Hidden files and folders are left out, and so is what clsp itself made there:
    a run that lies among its own data is no data.
    """
    ignored: Counter[str] = Counter()
    found = sorted(_walk(folder, "", set(), ignored))
    stamps = tuple((size, changed) for _, size, changed in found)
    return Listing(names=tuple(name for name, _, _ in found), stamps=stamps, ignored=ignored)


def _walk(
    folder: Path, prefix: str, seen: set[tuple[int, int]], ignored: Counter[str]
) -> Iterator[tuple[str, int, int]]:
    """Yield relative path, size, modification time; ``seen``: the folders that were entered."""
    status = folder.stat()
    if (here := (status.st_dev, status.st_ino)) in seen:
        return
    seen.add(here)
    with os.scandir(folder) as scanned:
        entries = list(scanned)
    names = {entry.name for entry in entries}
    if prefix and any(names >= marks for marks in _OURS):
        ignored["results of clsp"] += 1
        return
    for entry in entries:
        if entry.name.startswith("."):
            ignored["hidden"] += 1
        elif _is_folder(entry):
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", seen, ignored)
        elif is_image(entry.name):
            yield (prefix + entry.name, *_stamp(entry))
        else:
            ignored[Path(entry.name).suffix.lower() or entry.name] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:  # a dangling link: listed among the unreadable files
        return 0, 0
    return status.st_size, status.st_mtime_ns


def open_folder(source: str, folder: Path, config: ImagesConfig, *, seed: int = 0, store: Path | None = None) -> Images:
    """Read a folder of images.

    Every file's header is read first, which settles size and channels; then the images are decoded once, in
    parallel. Of a train part larger than ``config.limit`` only the chosen images are decoded.

    Args:
        source: the SOURCE as the user named it.
        folder: the folder.
        config: size, channels, labels, limit.
        seed: chooses the images under ``config.limit``.
        store: a folder for the decoded pixels, reused while no file has changed; None: keep them in memory.

    Raises:
        UserError: no images, fewer than two readable ones, or a test class that train lacks.
    """
    listing = list_images(folder)
    if not listing.names:
        raise UserError(_no_images(source, listing))
    key = _key(listing, config, seed)
    with stores.locked(store):
        kept = stores.reopen(store, key, source)
        return kept or stores.build(_plan(source, folder, listing, config, seed, key), store)


def _key(listing: Listing, config: ImagesConfig, seed: int) -> str:
    entries = [(name, *stamp) for name, stamp in zip(listing.names, listing.stamps)]
    chosen_by = None if config.limit is None else seed
    return files.fingerprint([stores.VERSION, asdict(config), chosen_by, entries])


def _no_images(source: str, listing: Listing) -> str:
    found = ", ".join(f"{count} {kind}" for kind, count in listing.ignored.most_common(5)) or "nothing"
    return (
        f"--data '{source}': the folder holds no images; it holds {found}; "
        f"images are files that end in {', '.join('.' + suffix for suffix in SUFFIXES)}"
    )


def _plan(source: str, folder: Path, listing: Listing, config: ImagesConfig, seed: int, key: str) -> stores.Plan:
    names, frame_notes = medical.expand(folder, listing.names)
    layout = find_layout(names, labels=config.labels == "auto")
    headers, excluded = _read_headers(folder, (*layout.train, *layout.test), config.max_pixels)
    layout = _readable(layout, headers)
    stores.check_enough(source, len(layout.train), excluded)
    found = [headers[name] for name in (*layout.train, *layout.test)]
    size, size_note = choose_size([header.side for header in found], config)
    channels = choose_channels(source, [header.channels for header in found], config)
    total = len(layout.train)
    layout = _limited(layout, config.limit, seed)
    tones, tone_notes = survey([folder / name for name in headers], list(headers.values()), config)
    part = partial(_part, folder, size=size, channels=channels, max_pixels=config.max_pixels, tones=tones)
    parts = {"train": part(layout.train, layout.train_labels)}
    if layout.test:
        parts["test"] = part(layout.test, layout.test_labels)
    return stores.Plan(
        source=source,
        key=key,
        parts=parts,
        size=size,
        channels=channels,
        classes=layout.classes,
        excluded=tuple(excluded),
        notes=(
            *layout.notes,
            *limit_note(len(layout.train), total),
            *_ignored_note(listing),
            *frame_notes,
            *tone_notes,
            *filter(None, (size_note,)),
        ),
        max_pixels=config.max_pixels,
    )


def _read_headers(folder: Path, names: Sequence[str], max_pixels: int) -> tuple[dict[str, Header], list[Excluded]]:
    def attempt(name: str) -> Header | str:
        try:
            return read_header(folder / name, max_pixels=max_pixels)
        except UnreadableImage as error:
            return str(error)

    headers: dict[str, Header] = {}
    excluded = []
    with strict_pillow(max_pixels):
        for name, result in zip(names, stores.each(attempt, names)):
            if isinstance(result, str):
                excluded.append(Excluded(name=name, reason=result))
            else:
                headers[name] = result
    return headers, excluded


def _readable(layout: Layout, headers: dict[str, Header]) -> Layout:
    train = np.array([name in headers for name in layout.train], bool)
    test = np.array([name in headers for name in layout.test], bool)
    return _kept(layout, np.flatnonzero(train), np.flatnonzero(test))


def _limited(layout: Layout, limit: int | None, seed: int) -> Layout:
    chosen = subset(len(layout.train), limit, seed=seed)
    return _kept(layout, chosen, np.arange(len(layout.test)))


def _kept(layout: Layout, train: np.ndarray, test: np.ndarray) -> Layout:
    """Keep these rows (int64) of the two parts."""
    return replace(
        layout,
        train=tuple(layout.train[i] for i in train),
        test=tuple(layout.test[i] for i in test),
        train_labels=None if layout.train_labels is None else layout.train_labels[train],
        test_labels=None if layout.test_labels is None else layout.test_labels[test],
    )


def _part(
    folder: Path,
    names: tuple[str, ...],
    labels: np.ndarray | None,
    *,
    size: int,
    channels: int,
    max_pixels: int,
    tones: Tones,
) -> stores.Part:
    def read(index: int) -> tuple[Decoded, int]:
        decoded = decode_file(folder / names[index], size=size, channels=channels, max_pixels=max_pixels, tones=tones)
        return decoded, -1 if labels is None else int(labels[index])

    return stores.Part(names=names, read=read, labelled=labels is not None)


def _ignored_note(listing: Listing) -> tuple[str, ...]:
    if not listing.ignored:
        return ()
    kinds = ", ".join(f"{count} {kind}" for kind, count in listing.ignored.most_common(5))
    return (f"{listing.ignored.total()} files are ignored because they are no images: {kinds}",)
