"""One decision for a whole set: which values become black and white, and what lies below transparent images.

An image by itself has no scale: a dim one must stay darker than a bright one. So the range of values is looked for in
all files that hold more than 8 bits, and every image is brought to 8 bits by the same range.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from clsp.images.config import ImagesConfig

Kind = Literal["integer", "float"]
Range = tuple[float, float]
"""The values that become 0 and 255."""

Ground = Literal["white", "black", "gray"]

GROUNDS: dict[Ground, int] = {"white": 255, "black": 0, "gray": 128}
"""What transparent images are laid on, in the order in which one is tried."""

CAMERA_BITS = (8, 10, 12, 14, 16)
"""Integers of cameras, microscopes and satellites use so many bits of the 16 or 32 in their files."""

_STEPS: dict[Kind, tuple[float, ...]] = {
    "integer": tuple(float(2**bits - 1) for bits in CAMERA_BITS),
    "float": (1.0, 255.0, 65535.0),
}

USED = 1 / 8
"""A natural range of which the values use less than this is not taken: their own range is."""

_LOST = 0.01
"""Fraction of the drawings that may vanish on a ground before another one is tried."""

_DARK = 16
"""Mean below which a set is called dark, of 255."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """The values of more than 8 bits that a file holds."""

    kind: Kind
    low: float
    high: float
    mean: float
    top: float | None = None
    """The largest value that the file can hold, where it says so: 4095 of 12 bits."""


@dataclass(frozen=True, kw_only=True)
class Tones:
    """How all images of a set become 8-bit and opaque."""

    ranges: dict[Kind, Range] = field(default_factory=dict)
    """By kind of numbers; a kind that is not there is scaled by each image's own values."""
    ground: Ground = "white"
    transparent: bool = False
    """Whether transparent images were seen, so that others are to be laid on the same ground."""

    def record(self) -> dict[str, Any]:
        """The values for JSON."""
        seen = {"transparent": True} if self.transparent else {}
        return {"ranges": {kind: list(ends) for kind, ends in self.ranges.items()}, "ground": self.ground, **seen}

    def scale(self, span: Span) -> Range:
        """The range of an image's numbers: the set's, or its own where the set has none."""
        return self.ranges.get(span.kind) or common_range([span])

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Tones:
        """Read what `record` returned.

        Raises:
            KeyError, TypeError, ValueError: it returned nothing like that.
        """
        ranges = {str(kind): (float(low), float(high)) for kind, (low, high) in record["ranges"].items()}
        if record["ground"] not in GROUNDS or not set(ranges) <= set(get_args(Kind)):
            raise ValueError(f"no set has such tones: {record}")
        return cls(ranges=ranges, ground=record["ground"], transparent=record.get("transparent") is True)  # type: ignore[arg-type]

    def settings(self) -> dict[str, Any]:
        """The settings of ``images`` by which other images become what this set became, where they need any.

        Files of one value alone have no range that others could be given.
        """
        ends, stands = list(self.ranges.values()), self.transparent or self.ground != "white"
        ground = {"background": self.ground} if stands else {}
        stated = len(ends) == 1 and ends[0][0] < ends[0][1]
        return {**ground, **({"range": list(ends[0])} if stated else {})}


def common_range(spans: Sequence[Span]) -> Range:
    """The range that becomes 0 to 255: from 0 to the next camera's depth (floats: 1, 255, 65535), else the set's own.

    Args:
        spans: of one kind, at least one.

    Returns:
        The set's own smallest and largest value where some are negative, where they lie above all steps, or where
        they use less than an eighth of the step.
    """
    low, high = min(span.low for span in spans), max(span.high for span in spans)
    steps = _STEPS[spans[0].kind]
    declared = [span.top for span in spans if span.top is not None]
    if declared:
        return 0.0, max(*declared, high)
    if low >= 0 and high <= steps[-1]:
        top = next(step for step in steps if high <= step)
        if high - low >= USED * top:
            return 0.0, top
    return low, high


def to_bytes(values: np.ndarray, scale: Range, done: list[str]) -> np.ndarray:
    """Bring values to uint8: ``scale`` becomes 0 to 255, rounded; what lies outside is clipped, and said.

    Args:
        values: any real dtype, any shape. NaN becomes 0, infinities the ends of the scale.
        scale: the values that become 0 and 255.
        done: takes names of what was done.
    """
    low, high = scale
    exact: type[np.floating] = np.float32 if values.dtype.itemsize <= 2 or values.dtype == np.float32 else np.float64
    x: np.ndarray = values.astype(exact)
    if values.dtype.kind == "f" and not np.isfinite(x).all():
        done.append("values that are not finite set to the ends of the scale")
        x = np.nan_to_num(x, nan=low, posinf=high, neginf=low)
    if x.size and (x.min() < low or x.max() > high):
        done.append("values outside the scale clipped")
    np.subtract(x, exact(low), out=x)
    np.multiply(x, exact(255.0), out=x)
    np.divide(x, exact((high - low) or 1.0), out=x)
    return np.rint(x).clip(0, 255).astype(np.uint8)


def span_of(values: np.ndarray, *, top: float | None = None) -> Span | None:
    """Look at an image's values; None where none of them is finite."""
    kind: Kind = "float" if values.dtype.kind == "f" else "integer"
    if kind == "float":
        values = values[np.isfinite(values)]
    if values.size == 0:
        return None
    mean = float(values.mean(dtype=np.float64))
    return Span(kind=kind, low=float(values.min()), high=float(values.max()), mean=mean, top=top)


def vanishes_on(pixels: np.ndarray, alpha: np.ndarray) -> frozenset[str]:
    """The grounds on which nothing can be seen of a transparent image.

    Args:
        pixels: uint8 [H, W, C].
        alpha: uint8 [H, W].
    """
    weight = alpha.astype(np.float32)[..., None] / 255.0
    found = set()
    for name, ground in GROUNDS.items():
        laid = pixels * weight + ground * (1.0 - weight)
        if np.ptp(laid, axis=(0, 1)).max() < 8:
            found.add(name)
    return frozenset(found)


def settle(
    spans: Iterable[Span], vanished: Sequence[frozenset[str]], config: ImagesConfig
) -> tuple[Tones, tuple[str, ...]]:
    """Decide for a set.

    Args:
        spans: of the files with more than 8 bits.
        vanished: for each transparent image that was looked at, what it vanishes on; see `vanishes_on`.
        config: ``range`` and ``background``.

    Returns:
        The decision, and notes that say it.
    """
    notes = []
    by_kind: dict[Kind, list[Span]] = {}
    for span in spans:
        by_kind.setdefault(span.kind, []).append(span)
    ranges: dict[Kind, Range] = {}
    for kind, found in sorted(by_kind.items()):
        chosen = config.range
        ranges[kind] = (chosen[0], chosen[1]) if chosen else common_range(found)
        notes.append(range_note(found, ranges[kind], given=chosen is not None))
    ground = _ground(vanished) if config.background == "auto" else config.background
    if vanished and (ground != "white" or config.background != "auto"):
        why = "drawings vanish on white; " if config.background == "auto" else ""
        notes.append(f"transparent images are laid on {ground}: {why}--images.background sets another ground")
    return Tones(ranges=ranges, ground=ground, transparent=bool(vanished)), tuple(notes)


def _ground(vanished: Sequence[frozenset[str]]) -> Ground:
    """White where nearly every drawing is seen on it, else the ground that hides the fewest."""
    lost = {ground: sum(ground in one for one in vanished) for ground in GROUNDS}
    if lost["white"] <= _LOST * len(vanished):
        return "white"
    return min(lost, key=lambda ground: lost[ground])


def range_note(spans: Sequence[Span], scale: Range, *, given: bool) -> str:
    """Say which values became 0 and 255."""
    low, high = scale
    least, most = min(span.low for span in spans), max(span.high for span in spans)
    bits = next((f" ({n}-bit)" for n in CAMERA_BITS if (low, high) == (0.0, 2.0**n - 1)), "")
    what = "files of floats" if spans[0].kind == "float" else "files of more than 8 bits"
    text = f"one scale for all {what}: the range of {low:g} to {high:g}{bits} becomes 0 to 255"
    text += f"; values found: {least:g} to {most:g}"
    mean = 255 * (sum(span.mean for span in spans) / len(spans) - low) / ((high - low) or 1.0)
    if mean < _DARK:
        text += f"; the images are dark (mean {mean:.0f} of 255)"
    return text + ("" if given else "; --images.range sets another")
