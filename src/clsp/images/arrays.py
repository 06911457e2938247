"""Arrays of images: ``.npy`` and ``.npz`` files. No pickle is read."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from clsp import files
from clsp.errors import UserError
from clsp.images.config import ImagesConfig
from clsp.images.geometry import row_names, sized
from clsp.images.imageset import Images, Split
from clsp.images.labels import numbered

_FIX = "save plain uint8 arrays with numpy.save(z)"

SUFFIXES = (".npy", ".npz")

KEYS = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("images", "labels", "", ""),
)
"""Names in an .npz of train images, train labels, test images, test labels; only the first is needed."""


def open_arrays(source: str, path: Path, config: ImagesConfig) -> Images:
    """Open uint8 images [N, H, W], [N, H, W, C] or [N, C, H, W] with C of 1 or 3, and their labels.

    Args:
        source: the SOURCE as the user named it.
        path: an .npy file (memory-mapped), or an .npz file with the names of `KEYS` or with a single array.
        config: ``size`` and ``labels``; the rest is up to the caller.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    with files.foreign(f"--data '{source}'", _FIX):
        found = _load(path)
    names = _names_of(source, found)
    notes: list[str] = []
    unused = sorted(set(found) - set(names))
    if unused:
        notes.append(f"arrays that are not used: {', '.join(unused)}")
    images = {part: as_images(source, found[key]) for part, key in (("train", names[0]), ("test", names[2])) if key}
    labels = {part: found[key] for part, key in (("train", names[1]), ("test", names[3])) if key}
    numbers, classes = _labels(source, images, labels, config, notes)
    parts = [
        Split(images=array, names=row_names(part, range(len(array))), labels=numbers.get(part))
        for part, array in images.items()
    ]
    return sized(source, parts, classes, config, *notes)


def _load(path: Path) -> dict[str, np.ndarray]:
    if path.suffix.lower() == ".npy":
        return {"images": files.read_array(path, mapped=True, fix=_FIX)}
    with zipfile.ZipFile(files.regular(path)) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                raise ValueError(f"it holds {member.filename}, which is no array")
            with archive.open(member) as file:
                files.check_header(file, member.file_size)
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _names_of(source: str, found: dict[str, np.ndarray]) -> tuple[str, str, str, str]:
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
    """Bring an array of images to uint8 [N, C, H, W]: a view, so that a memory map stays one.

    Raises:
        UserError: another dtype, or a shape that is not understood or could mean two things.
    """
    if array.dtype != np.uint8:
        raise UserError(
            f"--data '{source}' holds {array.dtype} images, uint8 is needed: convert them, for instance "
            "(255 * x).round().astype('uint8') where x is in [0, 1]"
        )
    shape = array.shape
    problem = None
    if len(shape) == 3 and shape[2] not in (1, 3, 4):
        return array[:, None]
    if len(shape) == 4:
        first, last = shape[1] in (1, 3), shape[3] in (1, 3)
        if first and last:  # both could be the channels: the other two sides decide
            first, last = shape[2] == shape[3], shape[1] == shape[2]
        if first != last:
            return array if first else array.transpose(0, 3, 1, 2)
        problem = "could be read in two ways" if first else "has no axis of 1 or 3 channels"
    elif len(shape) == 3:
        problem = "is one image, or channels without images"
    raise UserError(
        f"--data '{source}' has an array of shape {list(shape)}, which {problem or 'holds no images'}: "
        "[N, H, W], [N, H, W, C] or [N, C, H, W] with 1 or 3 channels are read"
    )


def _labels(
    source: str,
    images: dict[str, np.ndarray],
    labels: dict[str, np.ndarray],
    config: ImagesConfig,
    notes: list[str],
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Number the labels, int64 [N] in [0, classes) for each part, and name the classes by their values."""
    if config.labels == "none" or "train" not in labels:
        if labels:
            notes.append("labels are ignored" + (" (--images.labels none)" if config.labels == "none" else ""))
        return {}, None
    flat = {
        part: values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values for part, values in labels.items()
    }
    if any(values.ndim != 1 for values in flat.values()):
        notes.append("labels are ignored: they are not one class for each image")
        return {}, None
    for part, values in flat.items():
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
    return numbered(source, flat)
