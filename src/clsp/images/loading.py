"""Image files as they are: their headers, and their content as a picture of Pillow's or an array of numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin

from clsp.images import medical, opening, png, tiff
from clsp.images.opening import MAX_PIXELS
from clsp.images.raster import Raster, check_channels, split_alpha

TURNED = "EXIF rotation applied"
_GRAY_MODES = ("1", "L", "LA", "La", "I", "F")


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the first bytes of a file say."""

    side: int
    """The shorter side in pixels."""
    channels: int
    """1 (gray), 3 (colour, palettes too), or the number of bands; transparency aside."""
    deep: bool = False
    """Whether it holds more than 8 bits, so that the set has to agree on a scale."""
    alpha: bool = False
    """Whether some of it may be transparent."""

    @property
    def gray(self) -> bool:
        """Whether the file holds one channel."""
        return self.channels == 1


def read_header(file: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Read the size and the kind of an image without decoding it.

    Raises:
        UnreadableImage: empty, not an image, or more than ``max_pixels`` pixels.
    """
    if medical.is_medical(file):
        raster = medical.read_frame(Path(file), max_pixels)  # type: ignore[arg-type]
        height, width, channels = raster.values.shape
        return Header(side=min(height, width), channels=channels, deep=bool(raster.bits))
    with opening.reading(file, max_pixels) as stream:
        head = stream.read(26)
        if tiff.is_tiff(head) and not (page := tiff.Page(stream, max_pixels)).for_pillow:
            check_channels(page.channels)
            return Header(side=page.side, channels=page.channels, deep=page.deep, alpha=page.has_alpha)
        with opening.opened(stream, opening.formats_of(file), max_pixels) as image:
            colour = png.is_deep_colour(head)
            deep = image.mode.startswith("I;16") or image.mode in ("I", "F") or colour
            gray = image.mode in _GRAY_MODES or image.mode.startswith("I;16")
            gray = gray or (colour and head[25] == 4)  # gray with alpha, which Pillow opens as RGBA
            alpha = image.has_transparency_data
            return Header(side=min(image.size), channels=1 if gray else 3, deep=deep, alpha=alpha)


@contextlib.contextmanager
def loaded(file: Path | bytes, size: int | None, max_pixels: int) -> Iterator[Image.Image | Raster]:
    """Open a file by the reader of its format: a picture of Pillow's, or an array."""
    if medical.is_medical(file):
        yield medical.read_frame(Path(file), max_pixels)  # type: ignore[arg-type]
        return
    with opening.reading(file, max_pixels) as stream:
        head = stream.read(26)
        if tiff.is_tiff(head) and not (page := tiff.Page(stream, max_pixels)).for_pillow:
            yield page.read(max_pixels)
            return
        with opening.opened(stream, opening.formats_of(file), max_pixels) as image:
            if png.is_deep_colour(head) and (values := png.read_deep(stream)) is not None:
                colours, alpha = split_alpha(values, 1 if values.shape[2] < 3 else 3)
                alpha = _keyed(image, colours) if alpha is None else alpha
                yield Raster(values=colours, alpha=alpha, orientation=orientation_of(image, []))
                return
            if size is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
                # The JPEG decoder halves large images for nothing; down to twice the target, to spare the filter.
                image.draft(None, (2 * size, 2 * size))
            yield image


def raster_of(image: Image.Image) -> Raster | None:
    """A Pillow image of more than 8 bits as an array, upright; None of one of 8 bits."""
    if not (image.mode.startswith("I;16") or image.mode in ("I", "F")):
        return None
    done = ["first frame of several"] if is_animated(image) else []
    top = 4095.0 if raw_mode(image) == "I;12" else None
    orientation = orientation_of(image, done)
    image.load()
    values = np.asarray(image)
    if image.mode == "I" and image.format == "PPM":  # Pillow has scaled it to 16 bits
        values, top = values.astype(np.uint16), 65535.0
    if image.format == "TIFF" and orientation != 1:  # Pillow has turned it already
        done.append(TURNED)
        orientation = 1
    values = values[..., None]
    return Raster(values=values, alpha=_keyed(image, values), orientation=orientation, top=top, done=tuple(done))


def _keyed(image: Image.Image, values: np.ndarray) -> np.ndarray | None:
    """Opacity, uint8 [H, W], where a PNG names one value or colour that is transparent (tRNS); None: it names none."""
    key = image.info.get("transparency")
    if image.format != "PNG" or not isinstance(key, int | tuple):
        return None
    clear = (values == np.atleast_1d(key)).all(axis=2)
    return np.where(clear, 0, 255).astype(np.uint8)


def is_animated(image: Image.Image) -> bool:
    """Whether a picture has several frames of which the first is taken."""
    return getattr(image, "is_animated", False) and image.format != "MPO"  # MPO: a photo with its thumbnails


def orientation_of(image: Image.Image, done: list[str]) -> int:
    """How EXIF says that an image lies, from 1 (upright) to 8."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF beside sound pixels: the image is kept as it lies
        done.append("EXIF unreadable, not rotated")
        return 1
    return orientation if orientation in range(1, 9) else 1


def raw_mode(image: Image.Image) -> str:
    """The layout of the samples in the file, as Pillow's decoders name it; empty once the image is loaded."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
