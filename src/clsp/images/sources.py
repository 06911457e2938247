"""SOURCE: what stands behind ``--data`` becomes `Images`. Imports nothing heavy until a source is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clsp.errors import UserError, suggest
from clsp.images.catalogue import BUILTIN_NAMES as BUILTIN_NAMES
from clsp.images.config import ImagesConfig

if TYPE_CHECKING:
    from clsp.images.imageset import Images


def open_images(source: str, config: ImagesConfig | None = None, *, seed: int = 0, store: Path | None = None) -> Images:
    """Open a SOURCE.

    Args:
        source: a built-in name, a folder of images, an .npy or .npz file, or ``hf:NAME``. A folder that is named
            like a built-in source is written ``./NAME``.
        config: how images are read.
        seed: chooses the images under ``config.limit``.
        store: a folder where decoded pixels are kept between calls; None: in memory.

    Returns:
        Images of one size and one number of channels. ``test`` is None where the source has no test part.

    Raises:
        UserError: one line that names the value, what is allowed and the fix.
    """
    config = config or ImagesConfig()
    images = _open(source, config, seed, store)
    if config.labels == "none":
        images = _without_labels(images)
    images = _with_channels(images, config.channels)
    images = _limited(images, config.limit, seed)
    if len(images.train) < 2:
        raise UserError(f"--data '{source}' has {len(images.train)} images, at least two are needed: add some")
    return images


def check_source(source: str) -> None:
    """Refuse a SOURCE that is nothing that could be opened, before anything heavy is imported.

    Raises:
        UserError: names what is allowed.
    """
    path = Path(source).expanduser()
    is_array = path.is_file() and path.suffix.lower() in (".npy", ".npz")
    if source not in BUILTIN_NAMES and not source.startswith("hf:") and not path.is_dir() and not is_array:
        raise UserError(_unknown(source, path))


def _open(source: str, config: ImagesConfig, seed: int, store: Path | None) -> Images:
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


def _unknown(source: str, path: Path) -> str:
    names = ", ".join(BUILTIN_NAMES)
    allowed = f"give a folder of images, an .npy or .npz file, hf:NAME, or a built-in name ({names})"
    if path.exists():
        return f"--data '{source}' is a file, but neither .npy nor .npz: {allowed}"
    return f"--data '{source}' does not exist{suggest(source, BUILTIN_NAMES)}; {allowed}"


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
    )
    return replace(images, train=chosen, notes=(*images.notes, *limit_note(limit, total)))
