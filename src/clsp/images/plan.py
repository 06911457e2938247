"""A data set that is not yet read: what its parts are, and what decides how they come out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from clsp import cores
from clsp.errors import UserError
from clsp.images.decode import Decoded
from clsp.images.imageset import Excluded
from clsp.images.tones import Tones

VERSION = 3
"""Part of every key: raise it when decoding changes."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Part:
    """The images of one split, not yet read."""

    names: tuple[str, ...]
    read: Callable[[int], tuple[Decoded, int]]
    """Read image ``i`` and its label (ignored where ``labelled`` is False). May raise UnreadableImage."""
    labelled: bool
    labels: np.ndarray | None = None
    """int64 [N], where they are known before an image is read."""
    columns: Mapping[str, Sequence[object]] = field(default_factory=dict)
    """What else is known of every image, by name."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A data set, not yet read."""

    source: str
    key: str
    """Fingerprint of all that determines the result."""
    parts: dict[str, Part]
    """``train`` and perhaps ``test``."""
    size: int
    channels: int
    classes: tuple[str, ...] | None = None
    excluded: tuple[Excluded, ...] = ()
    """Files that are known to be unreadable."""
    notes: tuple[str, ...] = ()
    max_pixels: int
    tones: Tones | None = None
    """How its files become 8-bit and opaque."""
    also: str | None = None
    """The key under which the same images are asked for when size, channels and tones are stated."""


def each(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Apply ``function`` to ``items`` in threads and yield the results in order.

    Only a few items are under way at a time, so that memory stays bounded whatever the consumer's pace.
    """
    workers = min(8, cores.usable())
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def check_enough(source: str, count: int, excluded: Iterable[Excluded]) -> None:
    """Refuse a source of which fewer than two images could be read.

    Raises:
        UserError: none or one; names the first unreadable file.
    """
    if count >= 2:
        return
    bad = list(excluded)
    first = f"; {len(bad)} cannot be read, the first: {bad[0].name}: {bad[0].reason}" if bad else ""
    found = "none of the images" if count == 0 else "only one image"
    raise UserError(f"--data '{source}': {found} can be used, at least two are needed{first}; add images or mend them")
