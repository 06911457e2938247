"""One image file to uint8 pixels, and the name of everything that had to be converted on the way.

Nothing is clipped, guessed or repaired in silence: more than 8 bits are scaled, transparency is laid on one ground, a
truncated file is refused. Colour profiles (ICC) are not applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from clsp.images.loading import TURNED, is_animated, loaded, orientation_of, raster_of, raw_mode
from clsp.images.loading import Header as Header
from clsp.images.loading import read_header as read_header
from clsp.images.opening import MAX_PIXELS
from clsp.images.opening import UnreadableImage as UnreadableImage
from clsp.images.opening import strict_pillow as strict_pillow
from clsp.images.raster import Raster, banded, squared, upright
from clsp.images.tones import GROUNDS, Ground, Tones, span_of, to_bytes

BLANK = "one colour throughout (blank)"
"""What is said of an image that shows nothing."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One image, and what was done to it."""

    pixels: np.ndarray
    """uint8 [C, H, W]."""
    conversions: tuple[str, ...] = ()
    """Short names of the conversions, such as ``16-bit scaled to 8-bit``."""


def decode_file(
    file: Path | bytes,
    *,
    size: int | None = None,
    channels: int | None = None,
    max_pixels: int = MAX_PIXELS,
    tones: Tones | None = None,
) -> Decoded:
    """Read one file.

    Args:
        file: an image file of `clsp.images.opening.SUFFIXES`, by its path or its content; ``scan.nii#7`` is the slice
            7 of a volume.
        size: height and width to bring it to, or None for its own; see `convert`.
        channels: 1 (gray), 3 (RGB), the number of bands, or None for the file's own.
        max_pixels: files with more pixels are refused before they are decoded.
        tones: what the set has agreed on; None: the file is a set by itself.

    Raises:
        UnreadableImage: empty, truncated, not an image, too large, or of fewer bands than ``channels``.
    """
    tones = tones or Tones()
    with loaded(file, size, max_pixels) as found:
        if isinstance(found, Raster):
            return _of_raster(found, size, channels, tones)
        return convert(found, size=size, channels=channels, tones=tones)


def convert(
    image: Image.Image, *, size: int | None = None, channels: int | None = None, tones: Tones | None = None
) -> Decoded:
    """Bring a Pillow image to uint8 gray or RGB, upright and opaque, and to the target size.

    More than 8 bits are scaled, rounded, by the range that ``tones`` names, else by the one that `common_range` finds
    for this image alone. Transparency is composited on the ground of ``tones``; CMYK, palettes and other colour spaces
    become RGB; of an animation the first frame is taken; EXIF rotation is applied. The centre square (as wide as the
    shorter side) is resized by Pillow's antialiased bicubic.

    Args:
        image: any Pillow image, decoded or not.
        size: height and width of the result, or None to keep the image's own height and width.
        channels: 1 (ITU-R 601 luma of colour), 2 (the first of colour), 3 (gray repeated), or None for the image's own.
        tones: what the set has agreed on; None: the image is a set by itself.

    Raises:
        UnreadableImage: no value is finite, or more channels are wanted than there are.
    """
    tones = tones or Tones()
    raster = raster_of(image)
    if raster is not None:
        return _of_raster(raster, size, channels, tones)
    done: list[str] = []
    if is_animated(image):
        done.append("first frame of several")
    if ";16" in raw_mode(image):  # Pillow keeps the upper byte of 16-bit colour, which is value / 256
        done.append("16-bit scaled to 8-bit")
    return _finished(_upright(image, done), size, channels, tones, done)


def _finished(image: Image.Image, size: int | None, channels: int | None, tones: Tones, done: list[str]) -> Decoded:
    """From an upright image of 8 bits to the result."""
    image = _opaque(image, done, tones.ground)
    two = channels == 2 and image.mode not in ("1", "L")  # as of any bands, the first ones
    image = _gray_or_rgb(image, 3 if two else channels, done)
    if size is not None:
        image = squared(image, size, done)
    pixels = np.array(image, dtype=np.uint8)
    if two:
        done.append("band 3 dropped")
        pixels = pixels[..., :2]
    return _decoded(pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1)), done)


def _decoded(pixels: np.ndarray, done: list[str]) -> Decoded:
    if (pixels == pixels[:, :1, :1]).all():
        done.append(BLANK)
    return Decoded(pixels=pixels, conversions=tuple(done))


def _of_raster(raster: Raster, size: int | None, channels: int | None, tones: Tones) -> Decoded:
    """From an array of numbers to the result."""
    done = list(raster.done)
    values, alpha = raster.values, raster.alpha
    if raster.orientation in range(2, 9):
        done.append(TURNED)
        values = upright(values, raster.orientation)
        alpha = None if alpha is None else upright(alpha, raster.orientation)
    if raster.bits:
        done.append(f"{raster.bits} scaled to 8-bit")
        values = to_bytes(values, _scale(raster, tones), done)
    if values.shape[2] not in (1, 3):
        return _decoded(banded(values, size, channels, done), done)
    image = Image.fromarray(np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values))
    if alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
    return _finished(image, size, channels, tones, done)


def _scale(raster: Raster, tones: Tones) -> tuple[float, float]:
    """The range of the set, or of the image where it stands alone.

    Raises:
        UnreadableImage: no value is finite.
    """
    span = span_of(raster.values, top=raster.top)
    if span is None:
        raise UnreadableImage("holds no value that is a finite number")
    return tones.scale(span)


def _upright(image: Image.Image, done: list[str]) -> Image.Image:
    orientation = orientation_of(image, done)
    image.load()
    if orientation == 1:
        return image
    done.append(TURNED)
    return ImageOps.exif_transpose(image)  # does nothing to a TIFF, which Pillow has turned already


def _opaque(image: Image.Image, done: list[str], ground: Ground) -> Image.Image:
    """Lay a transparent image on the ground of its set."""
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
    done.append(f"transparency composited on {ground}")
    paper = Image.new(solid.mode, solid.size, GROUNDS[ground] if gray else (GROUNDS[ground],) * 3)
    paper.paste(solid, mask=alpha)
    return paper


def _gray_or_rgb(image: Image.Image, channels: int | None, done: list[str]) -> Image.Image:
    if channels not in (None, 1, 3):
        count = 1 if image.mode in ("1", "L") else 3
        raise UnreadableImage(f"{count} channel{'s' if count > 1 else ''} where {channels} are wanted")
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
