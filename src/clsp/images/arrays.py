"""Arrays of images: ``.npy`` and ``.npz`` files. No pickle is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from clsp import files
from clsp.errors import UserError
from clsp.images.config import MOST_CHANNELS, ImagesConfig
from clsp.images.decode import BLANK
from clsp.images.geometry import row_names, sized
from clsp.images.imageset import Images, Split
from clsp.images.labels import numbered
from clsp.images.npz import Array, arrays_in
from clsp.images.tones import settle, span_of, to_bytes

_ROWS = 256
"""Images that are looked at or converted at once."""

_FIX = "save plain uint8 arrays with numpy.save(z)"

SUFFIXES = (".npy", ".npz")

KEYS = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("images", "labels", "", ""),
)
"""Names in an .npz of train images, train labels, test images, test labels; only the first is needed."""


def open_arrays(source: str, path: Path, config: ImagesConfig) -> Images:
    """Open images [N, H, W], [N, H, W, C] or [N, C, H, W] with C of 1 to 16, and their labels.

    Args:
        source: the SOURCE as the user named it.
        path: an .npy file, or an .npz file with the names of `KEYS` or with a single array. What lies unpacked in the
            file is memory-mapped.
        config: ``size``, ``labels`` and ``range``; the rest is up to the caller.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    with files.foreign(f"--data '{source}'", _FIX):
        found, others = arrays_in(files.regular(path))
        names = _names_of(source, found)
        notes: list[str] = []
        unused = sorted((set(found) - set(names)) | set(others))
        if unused:
            notes.append(f"arrays that are not used: {', '.join(unused)}")
        wanted = [("train", names[0], names[1]), ("test", names[2], names[3])]
        pixels = {part: _channels_first(as_images(source, found[key].read())) for part, key, _ in wanted if key}
        _require_alike(source, pixels)
        images = _eight_bit(source, pixels, config, notes)
        labels = _label_arrays(images, {part: found[key] for part, _, key in wanted if key}, config, notes)
    numbers, classes = _labels(source, images, labels, config)
    parts = [
        Split(images=array, names=row_names(part, range(len(array))), labels=numbers.get(part))
        for part, array in images.items()
    ]
    if blank := sum(_blank(array) for array in images.values()):
        notes.append(f"{BLANK}: {blank} images")
    return sized(source, parts, classes, config, *notes)


def _require_alike(source: str, images: dict[str, np.ndarray]) -> None:
    """Refuse parts of different numbers of channels."""
    counts = {part: array.shape[1] for part, array in images.items()}
    if len(set(counts.values())) > 1:
        raise UserError(
            f"--data '{source}' has train images of {counts['train']} and test images of {counts['test']} channels: "
            "save both with one number of channels"
        )


def _channels_first(images: np.ndarray) -> np.ndarray:
    """Lay images that were unpacked with their channels last out as [N, C, H, W], in the memory that they have."""
    last = images.transpose(0, 2, 3, 1)
    if not (images.flags.writeable and last.flags.c_contiguous) or images.flags.c_contiguous or not images.size:
        return images
    flat = last.reshape(len(last), -1)
    for first in range(0, len(flat), _ROWS):
        rows = images[first : first + _ROWS].reshape(-1, flat.shape[1])  # a copy, channels first
        flat[first : first + _ROWS] = rows
    return flat.reshape(images.shape)


def _eight_bit(
    source: str, images: dict[str, np.ndarray], config: ImagesConfig, notes: list[str]
) -> dict[str, np.ndarray]:
    """Bring arrays of other numbers to uint8, all by one scale; uint8 stays as it is.

    Raises:
        UserError: numbers that have no order, or none that is finite.
    """
    if strange := next((array.dtype for array in images.values() if array.dtype.kind not in "buif"), None):
        raise UserError(f"--data '{source}' holds {strange} images: integers, floats and booleans are read")
    deep = {part: array for part, array in images.items() if array.dtype != np.uint8}
    flags = {part: array for part, array in deep.items() if array.dtype.kind == "b"}
    spans = [span_of(rows) for part, array in deep.items() if part not in flags for rows in _chunks(array)]
    tones, said = settle([span for span in spans if span is not None], [], config)
    notes += said
    done: list[str] = []
    result = dict(images)
    for part, array in deep.items():
        scale = (0.0, 1.0) if part in flags else tones.ranges.get("float" if array.dtype.kind == "f" else "integer")
        if scale is None:
            raise UserError(f"--data '{source}' holds no value that is a finite number: mend it")
        result[part] = np.empty(array.shape, np.uint8)
        for first in range(0, len(array), _ROWS):
            rows = np.asarray(array[first : first + _ROWS])
            result[part][first : first + _ROWS] = to_bytes(rows.view(np.uint8) if part in flags else rows, scale, done)
    return result


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    return (np.asarray(array[first : first + _ROWS]) for first in range(0, len(array), _ROWS))


def _blank(images: np.ndarray) -> int:
    """How many of images [N, C, H, W] are of one colour throughout."""
    return sum(int((rows == rows[:, :, :1, :1]).all(axis=(1, 2, 3)).sum()) for rows in _chunks(images))


def _names_of(source: str, found: Collection[str]) -> tuple[str, str, str, str]:
    """The names of train images, train labels, test images, test labels; empty where there is none."""
    for keys in KEYS:
        if keys[0] in found:
            first, second, third, fourth = (key if key in found else "" for key in keys)
            return first, second, third, fourth if third else ""
    if len(found) == 1:
        return next(iter(found)), "", "", ""
    allowed = " or ".join(", ".join(filter(None, keys)) for keys in KEYS)
    raise UserError(
        f"--data '{source}' holds {', '.join(sorted(found)) or 'no arrays'}: name them {allowed}, "
        "or keep a single array of images"
    )


def as_images(source: str, array: np.ndarray) -> np.ndarray:
    """Bring an array of images to [N, C, H, W]: a view, so that a memory map stays one.

    Raises:
        UserError: a shape that is not understood or could mean two things.
    """
    shape = array.shape
    problem = None
    if len(shape) == 3 and shape[2] not in (1, 3, 4):
        return array[:, None]
    if len(shape) == 4:
        first, last = shape[1] in (1, 3), shape[3] in (1, 3)
        if not first and not last:
            first, last = shape[1] <= MOST_CHANNELS, shape[3] <= MOST_CHANNELS
        if first and last:  # both could be the channels: the other two sides decide
            first, last = shape[2] == shape[3], shape[1] == shape[2]
        if first != last:
            return array if first else array.transpose(0, 3, 1, 2)
        problem = "could be read in two ways" if first else f"has no axis of 1 to {MOST_CHANNELS} channels"
    elif len(shape) == 3:
        problem = "is one image, or channels without images"
    raise UserError(
        f"--data '{source}' has an array of shape {list(shape)}, which {problem or 'holds no images'}: "
        f"[N, H, W], [N, H, W, C] or [N, C, H, W] with 1 to {MOST_CHANNELS} channels are read"
    )


def _label_arrays(
    images: dict[str, np.ndarray], labels: dict[str, Array], config: ImagesConfig, notes: list[str]
) -> dict[str, np.ndarray]:
    """Read the labels [N] or [N, 1] of each part; maps and other shapes are not read at all, and that is said."""
    if config.labels == "none" or "train" not in labels:
        if labels:
            notes.append("labels are ignored" + (" (--images.labels none)" if config.labels == "none" else ""))
        return {}
    if any(len(array.shape) != 1 and array.shape[1:] != (1,) for array in labels.values()):
        notes.append("labels are ignored: they are not one class for each image")
        return {}
    return {part: np.asarray(array.read()).reshape(-1) for part, array in labels.items()}


def _labels(
    source: str,
    images: dict[str, np.ndarray],
    labels: dict[str, np.ndarray],
    config: ImagesConfig,
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Number the labels, int64 [N] in [0, classes) for each part, and name the classes by their values."""
    if not labels:
        return {}, None
    for part, values in labels.items():
        if len(values) != len(images[part]):
            raise UserError(
                f"--data '{source}' has {len(values)} labels for {len(images[part])} {part} images: "
                "give one for each, or ignore them with --images.labels none"
            )
        if values.dtype.kind not in "biuUS":
            raise UserError(
                f"--data '{source}' has {values.dtype} labels: integers or strings are read; "
                "convert them with .astype('int64'), or ignore them with --images.labels none"
            )
    return numbered(source, labels)
