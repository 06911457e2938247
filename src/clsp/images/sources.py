"""SOURCE: what stands behind ``--data`` becomes `Images`. Imports nothing heavy until a source is opened."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clsp.errors import UserError
from clsp.images.catalogue import BUILTIN_NAMES as BUILTIN_NAMES
from clsp.images.config import ImagesConfig
from clsp.images.hints import unknown

if TYPE_CHECKING:
    from clsp.images.imageset import Images


def open_images(
    source: str,
    config: ImagesConfig | None = None,
    *,
    seed: int = 0,
    store: Path | None = None,
    own: Path | None = None,
) -> Images:
    """Open a SOURCE.

    Args:
        source: a built-in name, a folder of images, an .npy or .npz file, or ``hf:NAME``. A folder that is named
            like a built-in source is written ``./NAME``.
        config: how images are read, and where they are kept decoded.
        seed: chooses the images under ``config.limit``.
        store: a folder where decoded pixels are kept between calls, in place of what ``config.store`` says.
        own: where they are kept if nothing else is wanted or has room; None: in memory.

    Returns:
        Images of one size and one number of channels. ``test`` is None where the source has no test part.

    Raises:
        UserError: one line that names the value, what is allowed and the fix.
    """
    _require_named(source)
    config = config or ImagesConfig()
    images = _stored(source, config, seed, store, own)
    if config.labels == "none":
        images = _without_labels(images)
    images = _with_channels(images, config.channels)
    images = _limited(images, config.limit, seed)
    if len(images.train) < 2:
        raise UserError(f"--data '{source}' has {len(images.train)} images, at least two are needed: add some")
    return images


def _stored(source: str, config: ImagesConfig, seed: int, store: Path | None, own: Path | None) -> Images:
    """Open a SOURCE with the store that is wanted; without the user's cache where it cannot serve."""
    if store is not None or config.store == "none":
        return _open(source, config, seed, store or own)
    if config.store != "auto":
        return _open(source, config, seed, Path(config.store).expanduser())
    from clsp.images.cache import image_cache, prepared_cache
    from clsp.images.store import NoRoomError

    try:
        return _open(source, config, seed, prepared_cache())
    except (NoRoomError, OSError) as error:
        if isinstance(error, OSError) and not _is_inside(error.filename, image_cache()):
            raise
        from clsp import console

        console.say(f"images: the cache {image_cache()} cannot keep them ({error}): kept in {own or 'memory'}")
        return _open(source, config, seed, own)


def _is_inside(path: object, folder: Path) -> bool:
    return isinstance(path, str | bytes | Path) and Path(os.fsdecode(path)).is_relative_to(folder)


def check_source(source: str) -> None:
    """Refuse a SOURCE that is nothing that could be opened, before anything heavy is imported.

    Raises:
        UserError: names what is allowed.
    """
    _require_named(source)
    path = Path(source).expanduser()
    is_array = path.is_file() and path.suffix.lower() in (".npy", ".npz")
    if is_path(source) and not path.is_dir() and not is_array:
        raise UserError(unknown(source, path))


def _require_named(source: str) -> None:
    """Refuse the empty name of a variable that is not set: as a path it would mean the current folder."""
    if not source:
        raise UserError("--data '' names nothing; give a folder of images, an .npy or .npz file, or a data set's name")


def is_path(source: str) -> bool:
    """Whether a SOURCE names a folder or a file, there or not."""
    return source not in BUILTIN_NAMES and not source.startswith("hf:")


def _open(source: str, config: ImagesConfig, seed: int, store: Path | None) -> Images:
    is_folder = is_path(source) and Path(source).expanduser().is_dir()
    if config.labels not in ("auto", "none") and not is_folder:
        check_source(source)
        raise UserError(
            f"--images.labels '{config.labels}' is neither auto nor none, and a file of labels is read for a folder of "
            f"images alone: {source} is none"
        )
    if source in BUILTIN_NAMES:
        from clsp.images.builtin import open_builtin

        return open_builtin(source, config, seed=seed, store=store)
    if source.startswith("hf:"):
        from clsp.images.hub import open_hub

        return open_hub(source, config, seed=seed, store=store)
    check_source(source)
    path = Path(source).expanduser()
    if path.is_dir():
        from clsp.images.folder import open_folder

        return open_folder(source, path, config, seed=seed, store=store)
    from clsp.images.arrays import open_arrays

    return open_arrays(source, path, config)


def _without_labels(images: Images) -> Images:
    test = images.test and replace(images.test, labels=None)
    return replace(images, train=replace(images.train, labels=None), test=test, classes=None)


def _with_channels(images: Images, channels: int | None) -> Images:
    if channels is None or channels == images.channels:
        return images
    from clsp.images.geometry import with_channels

    train = replace(images.train, images=with_channels(images.train.images, channels))
    test = images.test and replace(images.test, images=with_channels(images.test.images, channels))
    done = {
        (1, 3): "gray repeated to 3 channels",
        (3, 1): "colour reduced to gray (ITU-R 601 luma)",
    }.get((images.channels, channels), f"bands {channels + 1} to {images.channels} dropped")
    return replace(images, train=train, test=test, notes=(*images.notes, f"{done}: all images"))


def _limited(images: Images, limit: int | None, seed: int) -> Images:
    """Apply ``limit`` where the source has not: sources that decode files choose before they decode."""
    if limit is None or len(images.train) <= limit:
        return images
    from clsp.images.geometry import limit_note
    from clsp.images.imageset import subset

    total = len(images.train)
    rows = subset(total, limit, seed=seed)
    train = images.train
    chosen = replace(
        train,
        images=train.images[rows],
        names=[train.names[row] for row in rows],
        labels=None if train.labels is None else train.labels[rows],
        columns={name: [column[row] for row in rows] for name, column in train.columns.items()},
    )
    return replace(images, train=chosen, notes=(*images.notes, *limit_note(limit, total)))
