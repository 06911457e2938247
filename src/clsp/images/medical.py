"""DICOM files and NIfTI volumes: each frame or slice is an image, named ``scan.nii.gz#012``."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from clsp.images.opening import UnreadableImage, check_size, library_for, reading, suffix_of
from clsp.images.raster import Raster, check_channels

SUFFIXES = (".dcm", ".dicom", ".nii", ".nii.gz")
"""Files of these hold one image or many."""

MOST_VALUES = 2**28
"""Values of one file that are read at once; more are refused."""

_AS_RGB = ("YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
"""Colour spaces that pydicom itself turns to RGB."""

_PALETTE = "PALETTE COLOR"

_Path = TypeVar("_Path", bound=PurePath)
_FRAME = re.compile(r"(.+)#(\d+)")
_lock = threading.Lock()


def is_medical(file: Path | bytes) -> bool:
    """Whether a file, or the name of a frame in it, is DICOM's or NIfTI's."""
    return not isinstance(file, bytes) and suffix_of(_parted(file)[0].name) in SUFFIXES


def expand(folder: Path, names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name the frames of each volume in place of its file; constant slices, which show nothing, are left out.

    Args:
        folder: the folder of images.
        names: relative paths of its files.

    Returns:
        The names, in their order, and notes. A file that cannot be read keeps its name.
    """
    found: list[str] = []
    blank = 0
    for name in names:
        if suffix_of(name) not in SUFFIXES:
            found.append(name)
            continue
        try:
            frames = _frames(folder / name)
        except UnreadableImage:
            found.append(name)
            continue
        full = [index for index, frame in enumerate(frames) if len(frames) == 1 or frame.min() != frame.max()]
        blank += len(frames) - len(full)
        found += [f"{name}#{index:0{len(str(len(frames) - 1))}d}" for index in full]
    notes = (f"{blank} slices of volumes hold one value alone and are left out",) if blank else ()
    return tuple(found), notes


def groups_of(names: Iterable[str]) -> dict[str, str]:
    """The file of each image that is one of several frames or slices; empty where no file has several.

    They are nearly the same, and belong together wherever images are set apart.
    """
    files = {name: str(_parted(PurePosixPath(name))[0]) for name in names if "#" in name}
    counts = Counter(files.values())
    return {name: file for name, file in files.items() if counts[file] > 1}


def read_frame(file: Path, max_pixels: int) -> Raster:
    """Read one frame or slice; of a file that is named without a number, the first.

    Raises:
        UnreadableImage: damaged, too large, or the library that reads it is not installed.
    """
    path, index = _parted(file)
    frames = _frames(path)
    if index >= len(frames):
        raise UnreadableImage(f"it has {len(frames)} frames")
    frame = frames[index]
    check_size(frame.shape[1], frame.shape[0], max_pixels)
    return Raster(values=frame)


def _parted(file: _Path) -> tuple[_Path, int]:
    named = _FRAME.fullmatch(file.name)
    return (file.with_name(named[1]), int(named[2])) if named and suffix_of(named[1]) in SUFFIXES else (file, 0)


def _frames(path: Path) -> np.ndarray:
    """All frames of a file, [N, H, W, C]; the last few files are kept, for slices are asked for one by one."""
    with reading(path, MOST_VALUES), _lock:
        return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read(path: Path, changed: int) -> np.ndarray:
    suffix = suffix_of(path.name)
    library: Any = library_for(suffix)
    return _volume(library, path) if suffix.startswith(".nii") else _dicom(library, path)


def _volume(nibabel: Any, path: Path) -> np.ndarray:
    """Slices of a NIfTI volume along its last axis, [N, H, W, 1], scaled as its header says."""
    image = nibabel.Nifti1Image.from_filename(path)
    shape = image.shape
    if len(shape) < 3:
        shape = (*shape, *(1,) * (3 - len(shape)))
    if len(shape) > 4 or 0 in shape:
        raise UnreadableImage(f"a volume of shape {list(image.shape)}; three axes, or four with time, are read")
    _check_values(int(np.prod(shape)))
    proxy = image.dataobj
    plain = (proxy.slope, proxy.inter) == (1.0, 0.0)
    values = np.asarray(proxy.get_unscaled()) if plain else np.asarray(proxy, dtype=np.float32)
    if values.dtype.kind not in "uif":
        raise UnreadableImage(f"a volume of {values.dtype} values")
    values = values.reshape(*shape[:2], -1)
    return np.ascontiguousarray(values.transpose(2, 1, 0))[:, ::-1, :, None]  # x goes right, y up


def _dicom(pydicom: Any, path: Path) -> np.ndarray:
    """Frames of a DICOM file, [N, H, W, C]: in RGB or rescaled as it says, and white where it is bright."""
    data = pydicom.dcmread(path)
    if "PixelData" not in data:
        raise UnreadableImage("a DICOM file without pixels")
    samples, frames = int(data.get("SamplesPerPixel", 1)), int(data.get("NumberOfFrames", 1) or 1)
    meant, shape = str(data.PhotometricInterpretation), (frames, int(data.Rows), int(data.Columns))
    check_channels(samples)
    _check_values(int(np.prod(shape)) * (3 if meant == _PALETTE else samples))
    if meant.startswith("YBR") and meant not in _AS_RGB:
        raise UnreadableImage(f"the colour space {meant} is not read")
    values = pydicom.pixels.pixel_array(data)  # in RGB, though the header goes on to say YBR
    if meant == _PALETTE:
        return _in_colour(pydicom, values.reshape(shape), data)
    values = values.reshape(*shape, samples)
    slope, intercept = float(data.get("RescaleSlope", 1) or 1), float(data.get("RescaleIntercept", 0) or 0)
    if (slope, intercept) != (1.0, 0.0):
        whole = slope.is_integer() and intercept.is_integer()
        values = values.astype(np.int32 if whole else np.float32) * np.float32(slope) + np.float32(intercept)
        values = values.astype(np.int32) if whole else values
    if meant == "MONOCHROME1":  # small is bright
        steps = 2.0 ** int(data.BitsStored)
        ends = steps - 1 if not data.get("PixelRepresentation", 0) else -1.0  # 0 + 4095, or -2048 + 2047
        values = _inverted(values, ends * slope + 2 * intercept)
    return values


def _in_colour(pydicom: Any, indices: np.ndarray, data: Any) -> np.ndarray:
    """Look indices [N, H, W] up in the file's palette: uint8 [N, H, W, 3]."""
    colours = pydicom.pixels.apply_color_lut(indices, data)[..., :3]
    deep = colours.dtype != np.uint8 and int(data.RedPaletteColorLookupTableDescriptor[2]) > 8
    return (colours >> 8 if deep else colours).astype(np.uint8)


def _inverted(values: np.ndarray, ends: float) -> np.ndarray:
    """Turn values around the middle of what the file can hold, so that a set keeps one scale.

    Args:
        values: as rescaled.
        ends: the smallest and the largest one that the file can hold, added.
    """
    whole = values.dtype.kind in "ui"
    turned = ends - values.astype(np.float64)
    return turned.astype(np.int32 if whole else np.float32)


def _check_values(count: int) -> None:
    if count > MOST_VALUES:
        raise UnreadableImage(f"{count:,} values in one file; {MOST_VALUES:,} are read")
