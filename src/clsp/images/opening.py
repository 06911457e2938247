"""Opening of image files: which formats are read, by which decoder, and why a file is refused, in plain words.

Pillow is told the formats by name, so that a file reaches the decoder of its own format and no other: no PostScript,
no plugin that is found by content.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import io
import struct
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

# The plugins are imported by name so that no thread has to register one while another reads the registry.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    EpsImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from clsp.images import jxl, png

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF")
"""The formats that are read without an extra; Pillow's other decoders are never reached."""

EXTRAS = {
    ".heic": ("pillow_heif", "heic"),
    ".heif": ("pillow_heif", "heic"),
    ".jxl": ("pillow_jxl", "jxl"),
    ".dcm": ("pydicom", "medical"),
    ".dicom": ("pydicom", "medical"),
    ".nii": ("nibabel", "medical"),
    ".nii.gz": ("nibabel", "medical"),
}
"""The library that reads files of a suffix, and the extra of clsp that brings it."""

_PACKED_TIFF = dict.fromkeys((".tif", ".tiff"), "imagecodecs")
"""The library that some files of a suffix need."""

_LASTING = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.EINVAL),
)
"""Errors of the system that last as long as the file is as it is; any other may be gone at the next attempt."""

SUFFIXES = (
    *("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif", "ppm", "pgm", "avif"),
    *(suffix.lstrip(".") for suffix in EXTRAS),
)
"""Files are taken by these suffixes, in any case."""

MAX_PIXELS = 64_000_000
"""Default for the number of pixels above which a file is refused before it is decoded."""


class UnreadableImage(Exception):
    """A file cannot be read as an image; the message is the reason, one line in plain words."""

    passing = False
    """Whether the file may be sound, for the disk or the network has failed."""


def suffix_of(name: str) -> str:
    """The suffix of a file name in small letters: ``.png``, ``.nii.gz``."""
    name = name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return suffix_of(name).lstrip(".") in SUFFIXES


@contextlib.contextmanager
def strict_pillow(max_pixels: int) -> Iterator[None]:
    """Make Pillow refuse what we refuse, for the length of a block: too many pixels, truncated files, PostScript.

    Pillow keeps these settings in module globals, which another library may have relaxed; they are put back at
    the end. Enter it once around a pool of threads, not in each thread. Without Ghostscript no library that lets
    Pillow guess the format (torchvision's data sets do) can be made to run a program.
    """
    kept = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    postscript = EpsImagePlugin.gs_binary
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
        EpsImagePlugin.gs_binary = False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = kept
            EpsImagePlugin.gs_binary = postscript


@contextlib.contextmanager
def reading(file: Path | bytes, max_pixels: int) -> Iterator[BinaryIO]:
    """Open a file as a stream; whatever goes wrong until the block ends becomes an UnreadableImage."""
    try:
        if (len(file) if isinstance(file, bytes) else file.stat().st_size) == 0:
            raise UnreadableImage("empty file (0 bytes)")
        with _stream(file) as stream:
            yield stream
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # a damaged file makes decoders raise nearly anything
        found = UnreadableImage(_reason(file, error, max_pixels))
        found.passing = isinstance(error, OSError) and error.errno not in (None, *_LASTING)
        raise found from error


@contextlib.contextmanager
def opened(stream: BinaryIO, formats: tuple[str, ...], max_pixels: int) -> Iterator[Image.Image]:
    """Open a stream by Pillow's decoders of ``formats``, not decoded yet; size is checked first."""
    if "JXL" in formats and (size := jxl.size_of(stream)) is not None:
        check_size(*size, max_pixels)
    # Not by path: Pillow would map raw TIFFs into memory, and those that EXIF turns in the wrong shape.
    with Image.open(png.plain(stream), formats=formats) as image:
        check_size(image.width, image.height, max_pixels)
        yield image


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image of too many pixels before memory is asked for.

    Raises:
        UnreadableImage: says the limit.
    """
    if width * height > max_pixels:
        raise UnreadableImage(_too_large(max_pixels))


def formats_of(file: Path | bytes) -> tuple[str, ...]:
    """Pillow's formats that may stand in a file: those of `FORMATS`, and of an extra where the suffix asks for it.

    Raises:
        UnreadableImage: the extra is not installed.
    """
    suffix = "" if isinstance(file, bytes) else suffix_of(file.name)
    if suffix in (".heic", ".heif"):
        library_for(suffix).register_heif_opener()
        return ("HEIF",)
    if suffix == ".jxl":
        library_for(suffix)
        return ("JXL",)
    return FORMATS


def library_for(suffix: str) -> Any:
    """Import the library that reads files of a suffix.

    Raises:
        UnreadableImage: it is not installed; names the extra.
    """
    library, name = EXTRAS[suffix]
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise UnreadableImage(f"{suffix} files need an extra: pip install 'clsp[{name}]'") from error


def libraries_for(names: Iterable[str]) -> list[str]:
    """The installed ones of the libraries that files of such names may need, sorted; none is imported."""
    suffixes = {suffix_of(name) for name in names}
    wanted = {EXTRAS[suffix][0] if suffix in EXTRAS else _PACKED_TIFF.get(suffix, "") for suffix in suffixes}
    return sorted(name for name in wanted if name and importlib.util.find_spec(name) is not None)


def _stream(file: Path | bytes) -> BinaryIO:
    return io.BytesIO(file) if isinstance(file, bytes) else file.open("rb")


def _reason(file: Path | bytes, error: Exception, max_pixels: int) -> str:
    if isinstance(error, UnidentifiedImageError):
        return _foreign(file)
    if isinstance(error, (Image.DecompressionBombWarning, Image.DecompressionBombError)):
        return _too_large(max_pixels)
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, (EOFError, struct.error)) or "truncated" in text.lower():
        return "truncated: the file ends before the image does"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened: {error.strerror}"
    return f"damaged: {text}"


def _too_large(max_pixels: int) -> str:
    return f"more than {max_pixels:,} pixels (--images.max_pixels)"


def _foreign(file: Path | bytes) -> str:
    with _stream(file) as stream:
        head = stream.read(256).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "not an image but an HTML page"
    return f"not an image in a known format ({', '.join(FORMATS)})"
