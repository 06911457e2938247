"""A folder of images: what its files, folders and tables mean, and the plan to decode the images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clsp import files
from clsp.errors import UserError
from clsp.images import medical
from clsp.images import store as stores
from clsp.images.annotated import annotated, columns_of
from clsp.images.annotations import AUTO, NONE, Annotations, annotate, is_table, named_file
from clsp.images.config import ImagesConfig
from clsp.images.decode import Decoded, Header, UnreadableImage, decode_file, read_header, strict_pillow
from clsp.images.geometry import choose_channels, choose_size, limit_note
from clsp.images.hints import no_images
from clsp.images.imageset import Excluded, Images, subset
from clsp.images.labels import require_learnable
from clsp.images.layout import Layout, find_layout
from clsp.images.listing import SUFFIXES as SUFFIXES
from clsp.images.listing import Listing, list_images
from clsp.images.opening import libraries_for
from clsp.images.plan import VERSION, Part, Plan, check_enough, each
from clsp.images.survey import survey
from clsp.images.tones import Tones
from clsp.settings.identity import identity

Key = Callable[[ImagesConfig], str]
"""Names what is made of a folder with some settings."""


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
        UserError: no images, fewer than two readable ones, a test class that train lacks, or a file of labels that
            cannot be used.
    """
    listing = list_images(folder)
    if not listing.names:
        raise UserError(no_images(source, folder, listing.ignored, SUFFIXES))
    names, frame_notes = medical.expand(folder, listing.names)
    found = _grouped(_annotations(folder, names, listing.tables, config), names)
    named = config.labels != NONE and not found.labels
    layout = annotated(source, find_layout(names, labels=named), found)
    if config.labels == NONE:
        layout = replace(layout, notes=(*layout.notes, "labels are ignored (--images.labels none)"))
    key = partial(_key, folder, listing, names, seed=seed, found=found)
    images = stores.fetch(store, key(config), source, lambda: _plan(source, folder, listing, layout, config, seed, key))
    # What was passed over is no part of what is stored: results that lie among the images come and go.
    return replace(images, notes=(*images.notes, *frame_notes, *listing.told(_inside(folder, found.read))))


def _annotations(folder: Path, names: Sequence[str], tables: Sequence[str], config: ImagesConfig) -> Annotations:
    """What a table says of the images: the one that the user names, else those that lie among the images."""
    if config.labels == NONE:
        return Annotations()
    if config.labels != AUTO:
        path, columns = named_file(config.labels, folder)
        return annotate(names, [(path, config.labels, columns)], SUFFIXES, stated=True)
    found: list[tuple[Path, str, tuple[str, ...]]] = [(folder / name, name, ()) for name in tables if is_table(name)]
    return annotate(names, found, SUFFIXES, stated=False)


def _inside(folder: Path, read: Sequence[Path]) -> list[str]:
    """The relative paths of those tables that were listed among the images."""
    here, places = folder.absolute(), [path.absolute() for path in read]
    inside = [path.relative_to(here) for path in places if path.is_relative_to(here)]
    return [str(path) for path in inside if not any(part.startswith(".") for part in path.parts)]


def _grouped(found: Annotations, names: Sequence[str]) -> Annotations:
    """Frames of one file are a group, where no table says to which group they belong."""
    if not (groups := medical.groups_of(names)):
        return found
    said = {name: group for name, group in found.columns.get("group", {}).items() if group}
    return replace(found, columns={**found.columns, "group": {**groups, **said}})


def _key(
    folder: Path, listing: Listing, names: Sequence[str], config: ImagesConfig, *, seed: int, found: Annotations
) -> str:
    entries = [(name, *stamp) for name, stamp in zip(listing.names, listing.stamps)]
    chosen_by = None if config.limit is None else seed
    said = [
        dict(found.labels),
        {name: dict(values) for name, values in found.columns.items()},
        found.notes,
        found.parts,
        libraries_for(listing.names),  # what is left out for want of one is read once it is there
        [name for name in names if medical.is_medical(Path(name)) and "#" not in name],  # could not be looked into
    ]
    where = os.path.realpath(folder)
    return files.fingerprint([VERSION, identity(config), chosen_by, where, said, entries])


def _plan(
    source: str, folder: Path, listing: Listing, layout: Layout, config: ImagesConfig, seed: int, key: Key
) -> Plan:
    headers, excluded = _read_headers(folder, (*layout.train, *layout.test), config.max_pixels)
    excluded = [*listing.closed, *excluded]
    stated, layout = layout, _readable(layout, headers)
    check_enough(source, len(layout.train), excluded)
    require_learnable(source, layout.classes, stated.train_labels, layout.train_labels, layout.test_labels)
    found = [headers[name] for name in (*layout.train, *layout.test)]
    size, size_note = choose_size([header.side for header in found], config)
    channels = choose_channels(source, [header.channels for header in found], config)
    tones, tone_notes = survey([folder / name for name in headers], list(headers.values()), config)
    asked: dict[str, Any] = {"size": size, "channels": channels, **tones.settings()}  # as for an encoder of theirs
    total = len(layout.train)
    layout = _limited(layout, config.limit, seed)
    chosen = {"train": (layout.train, layout.train_labels)}
    if layout.test:
        chosen["test"] = (layout.test, layout.test_labels)
    columns = {part: columns_of(layout.columns, names) for part, (names, _) in chosen.items()}
    parts = {
        part: _part(folder, names, labels, columns[part], size, channels, config.max_pixels, tones)
        for part, (names, labels) in chosen.items()
    }
    return Plan(
        source=source,
        key=key(config),
        also=key(replace(config, **asked)),
        parts=parts,
        size=size,
        channels=channels,
        classes=layout.classes,
        excluded=tuple(excluded),
        notes=(
            *layout.notes,
            *limit_note(len(layout.train), total),
            *tone_notes,
            *filter(None, (size_note,)),
        ),
        max_pixels=config.max_pixels,
        tones=tones,
    )


def _read_headers(folder: Path, names: Sequence[str], max_pixels: int) -> tuple[dict[str, Header], list[Excluded]]:
    def attempt(name: str) -> Header | UnreadableImage:
        try:
            return read_header(folder / name, max_pixels=max_pixels)
        except UnreadableImage as error:
            return error

    headers: dict[str, Header] = {}
    excluded = []
    with strict_pillow(max_pixels):
        for name, result in zip(names, each(attempt, names)):
            if isinstance(result, UnreadableImage):
                excluded.append(Excluded(name=name, reason=str(result), passing=result.passing))
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
    columns: dict[str, list[object]],
    size: int,
    channels: int,
    max_pixels: int,
    tones: Tones,
) -> Part:
    def read(index: int) -> tuple[Decoded, int]:
        decoded = decode_file(folder / names[index], size=size, channels=channels, max_pixels=max_pixels, tones=tones)
        return decoded, -1 if labels is None else int(labels[index])

    return Part(names=names, read=read, labelled=labels is not None, labels=labels, columns=columns)
