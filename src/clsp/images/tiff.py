"""TIFF files: what they hold is looked at first; bands and numbers that Pillow has no mode for are read by tifffile."""

from __future__ import annotations

import importlib.util
import logging
import zlib
from typing import Any, BinaryIO

import numpy as np
import tifffile

from clsp.images.opening import UnreadableImage, check_size
from clsp.images.raster import Raster, check_channels, split_alpha

MOST_STRIPS = 100_000
"""Strips or tiles of one image; more take seconds before the first pixel is decoded."""

_DEFLATE = (8, 32946)
_COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 50000: "ZSTD"}
_COLOURS = {0: 1, 1: 1, 2: 3}
"""Channels that are no extra ones, by photometric interpretation: white is zero, black is zero, RGB."""

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_LIMITED = importlib.util.find_spec("imagecodecs") is not None
"""Whether tifffile unpacks by imagecodecs, which stops at the size that is declared."""

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it reports damage by logging; here damage is an exception


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins so is a TIFF."""
    return head[:4] in _MAGIC


class Page:
    """The first image of a TIFF, its pixels not read.

    Args:
        stream: the file, which stays open while the page is used.
        max_pixels: more are refused.

    Raises:
        UnreadableImage: too many pixels, strips or bands.
    """

    def __init__(self, stream: BinaryIO, max_pixels: int) -> None:
        stream.seek(0)
        page: Any = tifffile.TiffFile(stream).pages[0]
        check_size(page.imagewidth, page.imagelength, max_pixels)
        if page.imagewidth * page.imagelength * page.samplesperpixel > 4 * max_pixels:
            raise UnreadableImage(f"more than {4 * max_pixels:,} values in all bands (--images.max_pixels)")
        if page.imagedepth > 1:
            raise UnreadableImage("a volume in one TIFF page; save its slices as files")
        if len(page.dataoffsets) > MOST_STRIPS:
            raise UnreadableImage(f"more than {MOST_STRIPS:,} strips or tiles; save it with larger ones")
        self._page, self._stream = page, stream
        extras = [int(kind) for kind in page.extrasamples]
        self.colours = _COLOURS.get(int(page.photometric), 0)
        self.samples = int(page.samplesperpixel)
        self.has_alpha = len(extras) == 1 and extras[0] in (1, 2) and self.samples == self.colours + 1
        self.channels = self.samples - self.has_alpha
        self.dtype = page.dtype

    @property
    def for_pillow(self) -> bool:
        """Whether Pillow decodes it without loss: it also reads other colour spaces, and JPEG inside a TIFF."""
        if not self.colours or self._page.compression in (6, 7, 34892):
            return True
        if self.channels != self.colours or (self.dtype != np.uint8 and 42113 in self._page.tags):
            return False
        # Of deep images where white is zero Pillow keeps the numbers: bright would be dark.
        plain = self.samples == 1 and not self._inverted
        kinds = ("u1", "b1", "u2", "i2", "i4", "f4") if plain else ("u1", "b1")
        dtype = self.dtype
        return dtype is None or np.dtype(dtype).newbyteorder("=").str[1:] in kinds

    @property
    def _inverted(self) -> bool:
        """Whether white is zero."""
        return int(self._page.photometric) == 0

    @property
    def deep(self) -> bool:
        """Whether it holds more than 8 bits."""
        return bool(self.dtype != np.uint8)

    @property
    def side(self) -> int:
        """The shorter side in pixels."""
        return min(self._page.imagewidth, self._page.imagelength)

    def read(self, max_pixels: int) -> Raster:
        """Decode it.

        Raises:
            UnreadableImage: truncated, more than 16 bands, or packed in a way that is not read.
        """
        page = self._page
        check_channels(self.channels)
        if self.dtype is None or np.dtype(self.dtype).kind not in "uif":
            raise UnreadableImage(f"values of {page.bitspersample} bits of TIFF's kind {page.sampleformat}")
        self._check_packing(max_pixels)
        try:
            values = page.asarray(squeeze=False, maxworkers=1)  # [planes, 1, H, W, samples]
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            packing = _COMPRESSIONS[int(page.compression)]
            raise UnreadableImage(f"{packing}-packed bands need an extra: pip install 'clsp[tiff]'") from error
        return self._raster(values[:, 0].transpose(1, 2, 0, 3).reshape(page.imagelength, page.imagewidth, -1))

    def _raster(self, values: np.ndarray) -> Raster:
        done: list[str] = []
        missing = _holes(values, self._page.tags.valueof(42113))
        if self._inverted:
            colours = values[..., : self.channels]
            values = np.concatenate([self._turned(colours), values[..., self.channels :]], axis=-1)
        values = _without_holes(values, missing, done)
        colours, alpha = split_alpha(values, self.channels)
        orientation = int(self._page.tags.valueof(274) or 1)
        top = self._top if self._inverted else None
        return Raster(values=colours, alpha=alpha, orientation=orientation, top=top, done=tuple(done))

    def _turned(self, values: np.ndarray) -> np.ndarray:
        """Bright where the numbers are small; integers as far from the other end of what the file can hold."""
        if values.dtype.kind == "f":
            return -values
        return ~values if self._top is None else (int(self._top) - values).astype(values.dtype)

    @property
    def _top(self) -> float | None:
        """The largest value of the file's bits, where its numbers have room for more: 4095 of 12 bits."""
        bits = int(self._page.bitspersample)
        odd = np.dtype(self.dtype).kind == "u" and bits < 8 * np.dtype(self.dtype).itemsize
        return 2.0**bits - 1 if odd else None

    def _check_packing(self, max_pixels: int) -> None:
        """Refuse what ends too early or would unpack to more than it declares."""
        page = self._page
        packing = int(page.compression)
        if packing not in _COMPRESSIONS:
            raise UnreadableImage(f"bands packed by TIFF's compression {packing} are not read")
        if page.is_tiled:
            check_size(page.tilewidth, page.tilelength, 4 * max_pixels)
        end = self._stream.seek(0, 2)
        spans = list(zip(page.dataoffsets, page.databytecounts))
        if not spans or any(start + count > end or count == 0 for start, count in spans):
            raise UnreadableImage("truncated: the file ends before the image does")
        if packing in _DEFLATE and not _LIMITED:
            chunk = int(np.prod(page.chunks)) * np.dtype(self.dtype).itemsize
            self._check_deflate(spans, chunk)
        elif packing == 1 and sum(page.databytecounts) < self._bytes():
            raise UnreadableImage("truncated: the file ends before the image does")

    def _bytes(self) -> int:
        return int(np.prod(self._page.shape)) * np.dtype(self.dtype).itemsize

    def _check_deflate(self, spans: list[tuple[int, int]], largest: int) -> None:
        """Unpack no strip further than it may be; tifffile by itself has no limit."""
        for start, count in spans:
            self._stream.seek(start)
            if len(zlib.decompressobj().decompress(self._stream.read(count), largest + 1)) > largest:
                raise UnreadableImage("damaged: a strip unpacks to more than the image declares")


def _holes(values: np.ndarray, nodata: object) -> np.ndarray | None:
    """The pixels that GDAL marks as missing, bool; None where the file marks none."""
    try:
        missing: np.ndarray = values == np.dtype(values.dtype).type(float(str(nodata)))
    except (ValueError, OverflowError):
        return None
    return missing if missing.any() and not missing.all() else None


def _without_holes(values: np.ndarray, missing: np.ndarray | None, done: list[str]) -> np.ndarray:
    """Give the pixels that are missing the lowest value of the others."""
    if missing is None:
        return values
    done.append("missing pixels (nodata) set to the lowest value")
    return np.where(missing, values[~missing].min(), values)
