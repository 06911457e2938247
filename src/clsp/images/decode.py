"""One image file to uint8 pixels, and the name of everything that had to be converted on the way.

Nothing is clipped, guessed or repaired in silence: 16-bit gray is scaled, transparency is laid on white, a
truncated file is refused. Colour profiles (ICC) are not applied.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

# The plugins are imported by name so that no thread has to register one while another reads the registry.
from PIL import (  # noqa: F401
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""The formats that are read; Pillow's other decoders are never reached."""

MAX_PIXELS = 64_000_000
"""Default for the number of pixels above which a file is refused before it is decoded."""

_GRAY_MODES = ("1", "L", "LA", "La", "I", "F")


class UnreadableImage(Exception):
    """A file cannot be read as an image; the message is the reason, one line in plain words."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the first bytes of a file say."""

    side: int
    """The shorter side in pixels."""
    gray: bool
    """Whether the file holds one channel (transparency aside); palettes count as colour."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One image, and what was done to it."""

    pixels: np.ndarray
    """uint8 [C, H, W]; C is 1 or 3."""
    conversions: tuple[str, ...] = ()
    """Short names of the conversions, such as ``16-bit scaled to 8-bit``."""


def read_header(file: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Read the size and the kind of an image without decoding it.

    Raises:
        UnreadableImage: empty, not an image, or more than ``max_pixels`` pixels.
    """
    with _opened(file, max_pixels) as image:
        gray = image.mode in _GRAY_MODES or image.mode.startswith("I;16")
        return Header(side=min(image.size), gray=gray)


def decode_file(
    file: Path | bytes, *, size: int | None = None, channels: int | None = None, max_pixels: int = MAX_PIXELS
) -> Decoded:
    """Read one file.

    Args:
        file: a PNG, JPEG, WebP, BMP, TIFF, GIF or PPM/PGM file, by its path or its content.
        size: height and width to bring it to, or None for its own; see `convert`.
        channels: 1 (gray), 3 (RGB), or None for the file's own.
        max_pixels: files with more pixels are refused before they are decoded.

    Raises:
        UnreadableImage: empty, truncated, not an image, or too large.
    """
    with _opened(file, max_pixels) as image:
        if size is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
            # The JPEG decoder halves large images for nothing; down to twice the target, to spare the filter.
            image.draft(None, (2 * size, 2 * size))
        return convert(image, size=size, channels=channels)


def convert(image: Image.Image, *, size: int | None = None, channels: int | None = None) -> Decoded:
    """Bring a Pillow image to uint8 gray or RGB, upright and opaque, and to the target size.

    16-bit gray becomes round(value / 257), 12-bit round(value * 255 / 4095). 32-bit integers and floats are
    scaled from the narrowest of [0, 1] (floats only), [0, 255] and [0, 65535] that holds the file's values,
    or from the file's own minimum and maximum where none does. Transparency is composited on white; CMYK,
    palettes and other colour spaces become RGB; of an animation the first frame is taken; EXIF rotation is
    applied. The centre square (as wide as the shorter side) is resized by Pillow's antialiased bicubic.

    Args:
        image: any Pillow image, decoded or not.
        size: height and width of the result, or None to keep the image's own height and width.
        channels: 1 (ITU-R 601 luma of colour), 3 (gray repeated), or None for the image's own.

    Raises:
        UnreadableImage: floats that are not finite.
    """
    done: list[str] = []
    if getattr(image, "is_animated", False) and image.format != "MPO":  # MPO: a photo with its thumbnails
        done.append("first frame of several")
    raw = _raw_mode(image)
    image = _upright(image, done)
    image = _eight_bit(image, raw, done)
    image = _opaque(image, done)
    image = _gray_or_rgb(image, channels, done)
    if size is not None:
        image = _squared(image, size, done)
    pixels = np.array(image, dtype=np.uint8)
    pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return Decoded(pixels=pixels, conversions=tuple(done))


@contextlib.contextmanager
def strict_pillow(max_pixels: int) -> Iterator[None]:
    """Make Pillow refuse what we refuse, for the length of a block: too many pixels, truncated files.

    Pillow keeps both settings in module globals, which another library may have relaxed; they are put back at
    the end. Enter it once around a pool of threads, not in each thread.
    """
    kept = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = kept


@contextlib.contextmanager
def _opened(file: Path | bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image; whatever goes wrong until the block ends becomes an UnreadableImage."""
    try:
        if (len(file) if isinstance(file, bytes) else file.stat().st_size) == 0:
            raise UnreadableImage("empty file (0 bytes)")
        # Not by path: Pillow would map raw TIFFs into memory, and those that EXIF turns in the wrong shape.
        with _stream(file) as stream, Image.open(stream, formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise UnreadableImage(_too_large(max_pixels))
            yield image
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise UnreadableImage(_reason(file, error, max_pixels)) from error


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


def _raw_mode(image: Image.Image) -> str:
    """The layout of the samples in the file, as Pillow's decoders name it; empty once the image is loaded."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _upright(image: Image.Image, done: list[str]) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF beside sound pixels: the image is kept as it lies
        orientation = 1
        done.append("EXIF unreadable, not rotated")
    image.load()
    if orientation not in range(2, 9):
        return image
    done.append("EXIF rotation applied")
    return ImageOps.exif_transpose(image)  # does nothing to a TIFF, which Pillow has turned already


def _eight_bit(image: Image.Image, raw: str, done: list[str]) -> Image.Image:
    if image.mode.startswith("I;16"):
        top = 4095 if raw == "I;12" else 65535
        done.append(f"{12 if top == 4095 else 16}-bit scaled to 8-bit")
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + top // 2) // top).astype(np.uint8))
    if image.mode == "I" and image.format == "PPM":  # Pillow has scaled it to 16 bits
        done.append("16-bit scaled to 8-bit")
        return Image.fromarray(_scaled(np.asarray(image, dtype=np.float64), (65535,)))
    if image.mode in ("I", "F"):
        done.append(f"32-bit {'integer' if image.mode == 'I' else 'float'} scaled to 8-bit")
        tops = (255, 65535) if image.mode == "I" else (1, 255, 65535)
        return Image.fromarray(_scaled(np.asarray(image, dtype=np.float64), tops))
    if ";16" in raw:  # Pillow keeps the upper byte of 16-bit colour, which is value / 256
        done.append("16-bit scaled to 8-bit")
    return image


def _scaled(values: np.ndarray, tops: tuple[int, ...]) -> np.ndarray:
    """Scale float64 to uint8 from [0, first of ``tops`` that holds all values], else from its own range."""
    if not np.isfinite(values).all():
        raise UnreadableImage("holds values that are not finite numbers")
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= tops[-1]:
        low, high = 0.0, next(top for top in tops if high <= top)
    scaled = (values - low) / ((high - low) or 1.0)
    return np.round(scaled * 255).astype(np.uint8)


def _opaque(image: Image.Image, done: list[str]) -> Image.Image:
    """Lay a transparent image on white."""
    if not image.has_transparency_data:
        return image
    if image.mode in ("P", "PA"):
        done.append("palette converted to RGB")
    gray = image.mode in ("1", "L", "LA", "La")
    image = image.convert("LA" if gray else "RGBA")
    alpha = image.getchannel("A")
    solid = image.convert("L" if gray else "RGB")
    if alpha.getextrema() == (255, 255):
        done.append("opaque alpha channel dropped")
        return solid
    done.append("transparency composited on white")
    paper = Image.new(solid.mode, solid.size, "white")
    paper.paste(solid, mask=alpha)
    return paper


def _gray_or_rgb(image: Image.Image, channels: int | None, done: list[str]) -> Image.Image:
    if image.mode == "1":
        done.append("1-bit read as gray")
        image = image.convert("L")
    elif image.mode not in ("L", "RGB"):
        done.append(f"{'palette' if image.mode == 'P' else image.mode} converted to RGB")
        image = image.convert("RGB")
    if channels == 3 and image.mode == "L":
        done.append("gray repeated to 3 channels")
        image = image.convert("RGB")
    elif channels == 1 and image.mode == "RGB":
        done.append("colour reduced to gray (ITU-R 601 luma)")
        image = image.convert("L")
    return image


def _squared(image: Image.Image, size: int, done: list[str]) -> Image.Image:
    """Resize the centre square: what resizing the shorter side and cropping the centre gives, in one step."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.width != image.height:
        done.append("centre cropped")
    box = (left, top, left + side, top + side)
    if side == size:
        return image.crop(box)
    done.append(f"resized to {size} x {size} (bicubic)")
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)
