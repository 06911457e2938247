"""Images as arrays of numbers: those of more than 8 bits, and those of several bands, which Pillow has no mode for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from clsp.images.config import MOST_CHANNELS
from clsp.images.opening import UnreadableImage


@dataclass(frozen=True, kw_only=True)
class Raster:
    """One image, not yet brought to 8 bits."""

    values: np.ndarray
    """[H, W, C] of any real dtype."""
    alpha: np.ndarray | None = None
    """Opacity, uint8 [H, W]."""
    orientation: int = 1
    """As EXIF numbers it: 1 is upright."""
    top: float | None = None
    """The largest value that the file can hold, where it says so."""
    done: tuple[str, ...] = ()
    """What was done while it was read."""

    @property
    def bits(self) -> str:
        """What its numbers are called: ``16-bit``, ``32-bit float``; empty for 8-bit ones."""
        dtype = self.values.dtype
        if dtype == np.uint8:
            return ""
        if self.top == 4095:
            return "12-bit"
        number = f"{8 * dtype.itemsize}-bit"
        return f"{number} float" if dtype.kind == "f" else f"{number} integer" if dtype.itemsize > 2 else number


def check_channels(count: int) -> None:
    """Refuse images of more bands than a training takes.

    Raises:
        UnreadableImage: names the channels.
    """
    if not 1 <= count <= MOST_CHANNELS:
        raise UnreadableImage(f"{count} channels (bands); 1 to {MOST_CHANNELS} are read")


def split_alpha(values: np.ndarray, colours: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Part integers [H, W, C] into ``colours`` channels and an opacity brought to 8 bits, where there is one more."""
    if values.shape[2] == colours:
        return values, None
    alpha = values[..., colours]
    if alpha.dtype.kind == "f":
        alpha = np.nan_to_num(alpha).clip(0, 1) * 255
    elif alpha.dtype != np.uint8:
        alpha = alpha * (255.0 / np.iinfo(alpha.dtype).max)
    return values[..., :colours], np.rint(alpha).clip(0, 255).astype(np.uint8)


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image [H, W, ...] as EXIF's ``orientation`` asks for."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def banded(pixels: np.ndarray, size: int | None, channels: int | None, done: list[str]) -> np.ndarray:
    """Bring bands to the wanted number and size; each is resized by itself.

    Args:
        pixels: uint8 [H, W, C], C of 2 or of more than 3.
        size: height and width of the result, or None to keep its own.
        channels: as many of the first bands are kept; None: all.
        done: takes names of what was done.

    Returns:
        uint8 [channels, H, W].

    Raises:
        UnreadableImage: there are fewer bands than channels.
    """
    count = pixels.shape[2]
    if channels is not None and channels != count:
        if channels > count:
            raise UnreadableImage(f"{count} channels (bands) where {channels} are wanted")
        done.append(f"bands {channels + 1} to {count} dropped" if channels + 1 < count else f"band {count} dropped")
        pixels = pixels[..., :channels]
    return squared_bands(pixels, size, done)


def squared_bands(pixels: np.ndarray, size: int | None, done: list[str]) -> np.ndarray:
    """Bring uint8 [H, W, C] to its centre square of ``size``: uint8 [C, size, size]."""
    if size is None:
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    planes = [Image.fromarray(np.ascontiguousarray(pixels[..., band])) for band in range(pixels.shape[2])]
    return np.stack([np.asarray(squared(plane, size, [] if number else done)) for number, plane in enumerate(planes)])


def squared(image: Image.Image, size: int, done: list[str]) -> Image.Image:
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
