"""Small charts as inline SVG. Colours come from CSS classes, so that they follow the page's theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from clsp.report.html import Html, element
from clsp.report.labels import Place
from clsp.report.numbers import fixed, signed

WIDTH, HEIGHT = 320, 180
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 10, 26
Point = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """One dot with its interval."""

    name: str
    colour: str
    value: float
    low: float | None
    """None where there is no interval."""
    high: float | None


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of ``value``; values beyond the ends are put on the ends."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        part = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + part * (self.end - self.start), 1)

    def ticks(self, count: int = 4) -> list[float]:
        """About ``count`` round values between the ends."""
        return self._log_ticks(count) if self.log else _round_values(self.low, self.high, count)

    def _log_ticks(self, count: int) -> list[float]:
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1,), (1, 3), (1, 2, 5)):
            values = [digit * 10.0**exponent for exponent in exponents for digit in digits]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) >= 3:
                return inside[:: math.ceil(len(inside) / (count + 2))]
        return _round_values(self.low, self.high, count)


def _round_values(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten in [low, high]."""
    rough = (high - low) / count
    if rough <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 2.5, 5, 10) if digit * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def tick(value: float) -> str:
    """A short label of an axis: ``20k`` for 20,000, ``0.25`` as it is."""
    if abs(value) >= 10_000 and value % 100 == 0:
        return f"{value / 1000:g}k"
    return f"{value:g}".replace("-", "−")


def text_at(content: str, x: float, y: float, anchor: str = "middle", class_: str | None = None) -> Html:
    """One line of text."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def svg(content: list[Html], label: str, height: float = HEIGHT, class_: str = "chart", width: float = WIDTH) -> Html:
    """A drawing of ``width`` by ``height`` units, which is scaled to the room that it has on the page."""
    view = f"0 0 {width:g} {height:g}"
    return element("svg", content, viewBox=view, role="img", aria_label=label, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def dot(x: float, y: float, radius: float, colour: str, title: str | None = None) -> Html:
    """A filled circle; ``title`` is what it says under the pointer."""
    told = element("title", title) if title else None
    return element("circle", told, cx=x, cy=y, r=radius, class_=f"dot {colour}")


def path(points: Sequence[Point], x: Axis, y: Axis, class_: str) -> Html:
    """Straight lines from point to point."""
    steps = "L".join(f"{x(a):g} {y(b):g}" for a, b in points)
    return element("path", d=f"M{steps}", class_=class_)


def frame(x: Axis, y: Axis, x_label: str, x_ticks: Sequence[tuple[float, str]] | None = None) -> list[Html]:
    """Grid lines, tick labels and the name of the horizontal axis; ``x_ticks`` are chosen where they are not given."""
    parts = []
    for value in y.ticks():
        parts.append(line(x.start, y(value), x.end, y(value), "grid"))
        parts.append(text_at(tick(value), x.start - 7, y(value) + 3.5, "end"))
    base = y.start
    parts.append(line(x.start, base, x.end, base, "axis"))
    for value, written in x_ticks or [(value, tick(value)) for value in x.ticks()]:
        at = x(value)
        parts.append(line(at, base, at, base + 4, "axis"))
        if not x_label or at < x.end - 16 - 6 * len(x_label):
            parts.append(text_at(written, at, base + 17))
    parts.append(text_at(x_label, x.end, base + 17, "end", "unit"))
    return parts


def interval_chart(
    estimates: Sequence[Estimate], *, label: str, zero: bool = False, width: float = WIDTH, decimals: int = 2
) -> Html:
    """Draw one dot with its interval per row; ``zero`` includes and marks the value 0."""
    ends = [end for one in estimates for end in (one.low, one.high, one.value) if end is not None]
    ends += [0.0] if zero else []
    pad = max(0.08 * (max(ends) - min(ends)), 0.2)
    gutter = min(140, 14 + 7.1 * max(len(short(one.name)) for one in estimates))
    x = Axis(min(ends) - pad, max(ends) + pad, gutter, width - 37 - 7 * decimals)
    base = TOP + 30 * len(estimates)
    parts = []
    for value in x.ticks():
        parts.append(line(x(value), TOP, x(value), base, "axis" if zero and value == 0 else "grid"))
        parts.append(text_at(tick(value), x(value), base + 16))
    for row, one in enumerate(estimates):
        middle = TOP + 30 * row + 15
        parts.append(text_at(short(one.name), gutter - 12, middle + 4, "end", "name"))
        if one.low is not None and one.high is not None:
            parts.append(line(x(one.low), middle, x(one.high), middle, f"interval {one.colour}"))
        parts.append(dot(x(one.value), middle, 5, one.colour, spoken(one, decimals)))
        shown = (signed if zero else fixed)(one.value, decimals)
        parts.append(text_at(shown, width - 4, middle + 4, "end", "value"))
    return svg(parts, label, base + 22, width=width)


def spoken(one: Estimate, decimals: int = 2) -> str:
    """What an estimate says under the pointer: its name, value and interval."""
    limits = f" ({fixed(one.low, decimals)} to {fixed(one.high, decimals)})" if one.low is not None else ""
    return f"{one.name}: {fixed(one.value, decimals)}{limits}"


def short(name: str) -> str:
    """A name that fits beside a dot."""
    return name if len(name) <= 19 else f"{name[:18]}…"


def label_at(name: str, point: tuple[float, float], found: Place) -> list[Html]:
    """A name at its place, drawn from the side of its dot: how wide it really is depends on the reader's fonts."""
    left, _, right, bottom = found.box
    side, x = "middle", (left + right) / 2
    if left >= point[0]:
        side, x = "start", left
    elif right <= point[0]:
        side, x = "end", right
    parts = [text_at(name, round(x, 1), round(bottom - 3, 1), side, "label")]
    if found.leader:
        (from_x, from_y), (to_x, to_y) = found.leader
        parts.append(line(from_x, from_y, round(to_x, 1), round(to_y, 1), "leader"))
    return parts


Group = tuple[str, Sequence[int]]


def scatter(xs: Sequence[float], ys: Sequence[float], groups: Sequence[Group], *, label: str) -> Html:
    """Draw points without axes, one path for each group.

    Args:
        xs: horizontal coordinates in [0, 1].
        ys: vertical coordinates in [0, 1], upwards.
        groups: the CSS colour of each group and the rows of its points.
        label: what a screen reader says.
    """
    size = 7.0 if len(xs) < 400 else 5.0 if len(xs) < 2000 else 3.4 if len(xs) < 6000 else 2.4
    paths = []
    for colour, rows in groups:
        # A line of no length with round ends is a dot: a tenth of the bytes of a circle.
        dots = "".join(f"M{8 + 584 * xs[row]:.1f} {8 + 484 * (1 - ys[row]):.1f}h0" for row in rows)
        paths.append(element("path", d=dots, style=f"--c:{colour};stroke-width:{size}"))
    return element("svg", paths, viewBox="0 0 600 500", role="img", aria_label=label, class_="chart map")
