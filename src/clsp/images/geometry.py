"""Size and channels: what ``null`` in the configuration becomes, and how whole arrays are brought there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from clsp import files
from clsp.errors import UserError
from clsp.images.config import ImagesConfig
from clsp.images.imageset import Images, Split

SIZES = (32, 64, 96, 128, 224)
"""Sizes that are chosen where the images' own do not agree."""

LARGEST_OWN = 256
"""Images that agree on a side above this are brought to one of ``SIZES`` too, to spare time and disk."""

SMALLEST = 4
"""The least side of images that a run takes."""

_CHUNK = 1024


def choose_size(sides: Sequence[int] | np.ndarray, config: ImagesConfig) -> tuple[int, str | None]:
    """Choose the height and width of the images.

    Args:
        sides: the shorter side of each image, in pixels; at least one.
        config: its ``size`` is taken if set.

    Returns:
        The size, and a note for the report where it was chosen for the user.

    Raises:
        UserError: the images have no pixels, or are smaller than any run takes.
    """
    low, high, median = int(np.min(sides)), int(np.max(sides)), float(np.median(sides))
    if low < 1:
        raise UserError("--data: the shorter side of the images is 0 pixels, so that they show nothing: leave them out")
    if config.size is not None:
        return config.size, None
    if low == high < SMALLEST:
        raise UserError(
            f"--data: the shorter side of the images is {low} pixel{'s' * (low > 1)}, and a run takes at least "
            f"{SMALLEST}: --images.size {SIZES[0]} enlarges them"
        )
    if low == high <= LARGEST_OWN:
        return low, None
    size = max((s for s in SIZES if s <= median), default=SIZES[0])
    found = f"all {low}" if low == high else f"{low} to {high}, median {median:g}"
    return (
        size,
        f"images are brought to {size} x {size} (shorter sides: {found}); --images.size sets another size",
    )


_MOST = 0.9
"""Share of the images whose number of channels is taken for the set's; the others are left out."""


def choose_channels(source: str, found: Sequence[int], config: ImagesConfig) -> int:
    """Choose the number of channels: the config's, else the images' own; gray among colour makes 3.

    Args:
        source: the SOURCE as the user named it.
        found: channels of each image, at least one.
        config: its ``channels`` is taken if set.

    Raises:
        UserError: images of several numbers of channels, none of which nearly all have.
    """
    if config.channels is not None:
        return config.channels
    counts = Counter(3 if count == 1 and 3 in found else count for count in found)
    most, number = counts.most_common(1)[0]
    if number < _MOST * len(found):
        each = ", ".join(f"{number:,} with {count}" for count, number in sorted(counts.items()))
        raise UserError(
            f"--data '{source}' has images of several numbers of channels ({each}): choose one, for instance "
            f"--images.channels {most}; images with fewer are left out, and of those with more the first bands are used"
        )
    return most


def with_channels(images: files.Array, channels: int) -> files.Array:
    """Bring images to another number of channels.

    Args:
        images: uint8 [N, C, H, W]; may be memory-mapped.
        channels: gray is repeated to 3; RGB becomes 1 by ITU-R 601 luma, rounded as Pillow's ``convert("L")``; of other
            numbers the first bands are kept.

    Returns:
        uint8 [N, channels, H, W]; ``images`` itself where nothing is to be done.

    Raises:
        UserError: there are fewer channels.
    """
    count = images.shape[1]
    if count == channels:
        return images
    if count < channels and (count, channels) != (1, 3):
        have = f"{count} channel{'s' * (count > 1)}"
        raise UserError(f"the images have {have}, not {channels}: choose --images.channels {count}, or leave it out")
    if count == 1:
        return np.repeat(np.asarray(images), 3, axis=1)
    result = np.empty((len(images), channels, *images.shape[2:]), np.uint8)
    for first in range(0, len(images), _CHUNK):
        if count != 3 or channels != 1:
            result[first : first + _CHUNK] = images[first : first + _CHUNK][:, :channels]
            continue
        red, green, blue = images[first : first + _CHUNK].astype(np.uint32).transpose(1, 0, 2, 3)
        luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
        result[first : first + _CHUNK, 0] = luma
    return result


def squared(images: np.ndarray, size: int) -> np.ndarray:
    """Bring images to ``size`` x ``size`` as `clsp.images.decode.convert` does: centre square, bicubic.

    Args:
        images: uint8 [N, C, H, W]; may be memory-mapped.
        size: the new height and width.

    Returns:
        uint8 [N, C, size, size]; ``images`` itself where they have that size.
    """
    if images.shape[2:] == (size, size):
        return images
    from clsp.images.raster import squared_bands

    result = np.empty((*images.shape[:2], size, size), np.uint8)
    for index, image in enumerate(images):
        result[index] = squared_bands(image.transpose(1, 2, 0), size, [])
    return result


def limit_note(used: int, total: int) -> tuple[str, ...]:
    """A note for the report where ``config.limit`` left images out."""
    return (f"{used} of {total} train images are used (--images.limit)",) if used < total else ()


def row_names(part: str, rows: Iterable[int]) -> tuple[str, ...]:
    """Names for images that have no files: ``train/00042``."""
    return tuple(f"{part}/{row:05d}" for row in rows)


def sized(
    source: str, parts: Sequence[Split], classes: tuple[str, ...] | None, config: ImagesConfig, *notes: str
) -> Images:
    """Assemble splits that are in memory, brought to the wanted size.

    Args:
        source: the SOURCE as the user named it.
        parts: train and perhaps test, uint8 [N, C, H, W] of any sizes.
        classes: names of the classes, where there are labels.
        config: its ``size``.
        notes: what was decided before.
    """
    size, note = choose_size([min(part.images.shape[2:]) for part in parts], config)
    if note is None and any(part.images.shape[2:] != (size, size) for part in parts):
        note = f"images are brought to {size} x {size}: centre cropped, resized (bicubic)"
    done = [replace(part, images=squared(np.asarray(part.images), size)) for part in parts]
    return Images(
        source=source,
        train=done[0],
        test=done[1] if len(done) > 1 else None,
        classes=classes,
        notes=(*notes, *filter(None, (note,))),
    )
