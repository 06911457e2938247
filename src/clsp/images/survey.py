"""What a set of files agrees on, before the first one is brought to 8 bits: number of channels, scale, ground."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from clsp.images.config import ImagesConfig
from clsp.images.loading import Header, loaded, raster_of
from clsp.images.opening import MAX_PIXELS, UnreadableImage, strict_pillow
from clsp.images.plan import each
from clsp.images.raster import Raster
from clsp.images.tones import Span, Tones, settle, span_of, to_bytes, vanishes_on

_SAMPLE = 256
"""Transparent images that are looked at to choose the ground: it is a vote, not a bound."""

_AT_ONCE = 64
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the pixels of a file say about the set."""

    span: Span | None
    """Its values, where they are of more than 8 bits."""
    vanishes_on: frozenset[str] | None
    """The grounds on which nothing is seen of it, where it is transparent."""


def survey(
    files: Sequence[_Item],
    headers: Sequence[Header],
    config: ImagesConfig,
    *,
    opened: Callable[[_Item], Path | bytes] | None = None,
) -> tuple[Tones, tuple[str, ...]]:
    """Find the scale and the ground of a set.

    All files of more than 8 bits are looked at, for the scale is bounded by them; of the transparent ones some, spread
    evenly. Files that cannot be read say nothing.

    Args:
        files: the set's files, in their order.
        headers: what is known of each.
        config: ``range`` and ``background`` decide where they are set.
        opened: turns an entry of ``files`` into a path or a file's content; None: they are paths.

    Returns:
        The decision, and notes that say it.
    """

    def looked(item: _Item, tones: Tones | None = None) -> Look | None:
        file: Any = opened(item) if opened else item
        try:
            return look(file, max_pixels=config.max_pixels, tones=tones)
        except UnreadableImage:
            return None

    deep = [file for file, header in zip(files, headers) if header.deep]
    clear = [file for file, header in zip(files, headers) if header.alpha]
    some = np.unique(np.linspace(0, len(clear) - 1, min(len(clear), _SAMPLE)).astype(int)) if clear else ()
    with strict_pillow(config.max_pixels):
        spans = _spans(deep, looked, enough=config.range is not None)
        scaled = partial(looked, tones=settle(spans, [], config)[0])  # a dim drawing may vanish on black
        found = [one for one in each(scaled, [clear[int(row)] for row in some]) if one is not None]
    vanished = [one.vanishes_on for one in found if one.vanishes_on is not None]
    return settle(spans, vanished, config)


def _spans(files: Iterable[_Item], looked: Callable[[_Item], Look | None], *, enough: bool) -> list[Span]:
    """The values of all files; one part is enough where the scale is known."""
    waiting, spans = iter(files), list[Span]()
    while part := list(itertools.islice(waiting, _AT_ONCE)):
        spans += [one.span for one in each(looked, part) if one is not None and one.span is not None]
        if spans and enough:
            break
    return spans


def look(file: Path | bytes, *, max_pixels: int = MAX_PIXELS, tones: Tones | None = None) -> Look:
    """Look at the pixels of a file for what its set has to agree on.

    Args:
        file: an image file, by its path or its content.
        max_pixels: files with more pixels are refused.
        tones: the scale of the set; None: it is not known yet, and files of more than 8 bits have no ground.

    Raises:
        UnreadableImage: as `decode_file`.
    """
    with loaded(file, None, max_pixels) as found:
        raster = found if isinstance(found, Raster) else raster_of(found)
        if raster is not None:
            span = span_of(raster.values, top=raster.top) if raster.bits else None
            return Look(span=span, vanishes_on=None if tones is None else _vanishes_of(raster, tones))
        assert isinstance(found, Image.Image)
        return Look(span=None, vanishes_on=_vanishes(found))


def _vanishes_of(raster: Raster, tones: Tones) -> frozenset[str] | None:
    """Likewise of an array, in the scale of its set; several bands are laid on no ground."""
    span = span_of(raster.values, top=raster.top)
    if raster.alpha is None or (raster.alpha == 255).all() or raster.values.shape[2] not in (1, 3) or span is None:
        return None
    pixels = to_bytes(raster.values, tones.scale(span), []) if raster.bits else raster.values
    return vanishes_on(pixels, raster.alpha)


def _vanishes(image: Image.Image) -> frozenset[str] | None:
    """The grounds on which nothing of a picture is seen; None where it is opaque."""
    if not image.has_transparency_data:
        return None
    pixels = np.asarray(image.convert("RGBA"))
    return None if (pixels[..., 3] == 255).all() else vanishes_on(pixels[..., :3], pixels[..., 3])
