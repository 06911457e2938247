"""The chart of accuracy against cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clsp.report.charts import Axis, Estimate, dot, frame, label_at, line, short, spoken, svg
from clsp.report.html import Html, element
from clsp.report.labels import Box, place
from clsp.report.numbers import fixed, number

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 420, 40, 8, 10, 26
APART = 7.0
"""Dots whose intervals would cover each other are drawn at least this far apart sideways."""
MARGINS = 58.0, 34.0
"""Room left and right of the dots for their names."""
NARROW = math.log(1.5)
"""The least range of costs, as a logarithm: smaller differences should look small."""
LETTER = 6.3
"""Width of a letter of a name."""
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
MINUTE, HOUR, DAY = 60, 3600, 86400
TIMES = (
    [1, 10, MINUTE, 10 * MINUTE, HOUR, 10 * HOUR, 4 * DAY, 40 * DAY],
    [1, 3, 10, 30, MINUTE, 3 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 10 * HOUR, DAY, 3 * DAY, 10 * DAY],
    [count * unit for unit in (1, MINUTE) for count in (1, 2, 3, 5, 10, 15, 20, 30, 45)]
    + [count * unit for unit in (HOUR, DAY) for count in (1, 2, 3, 5, 8, 12, 18)],
)
"""Round durations, from coarse to fine."""


@dataclass(frozen=True)
class Dot:
    """One arm: its accuracy and what it costs."""

    estimate: Estimate
    cost: float
    without: float
    """The cost without the generator."""


def flops(value: float) -> str:
    """Write a number of FLOPs with a prefix: ``1.2 P`` is 1.2e15."""
    power = min(max(int(math.log10(value) // 3), 0), len(PREFIXES) - 1) if value > 0 else 0
    return f"{number(value / 1000.0**power)}\u00a0{PREFIXES[power]}".rstrip()


def short_time(seconds: float) -> str:
    """Write a duration in its largest unit: ``10 min``."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{number(seconds / size)}\u00a0{unit}"
    return f"{number(seconds)}\u00a0s"


def cost_chart(dots: Sequence[Dot], *, label: str, written: Callable[[float], str], times: bool = False) -> Html:
    """Draw accuracy over cost, with one named dot and its interval per arm.

    An arm with a generator has a hollow dot, too, where it would be if the generator cost nothing.

    Args:
        dots: the arms; all costs are positive.
        label: what a screen reader says.
        written: writes a cost.
        times: whether the cost is a duration in seconds.
    """
    height = 290 + 8 * max(0, len(dots) - 6)
    x, y = _axes(dots, height)
    ticks = [(value, written(value)) for value in (_time_ticks(x) if times else x.ticks())]
    at = _spread([x(one.cost) for one in dots], [_span(one.estimate, y) for one in dots])
    joins, bars, hollow, marks = [], [], [], []
    for one, across in zip(dots, at, strict=True):
        estimate, up = one.estimate, y(one.estimate.value)
        if one.without < one.cost:
            joins.append(line(x(one.without), up, across, up, f"join {estimate.colour}"))
            hollow.append(_hollow(x(one.without), up, estimate, written(one.without)))
        if estimate.low is not None and estimate.high is not None:
            bars.append(line(across, y(estimate.low), across, y(estimate.high), f"spread {estimate.colour}"))
        marks.append(dot(across, up, 4.5, estimate.colour, f"{spoken(estimate)}; {written(one.cost)}"))
    names = _names(dots, at, x, y)
    return svg([*frame(x, y, "", ticks), *joins, *bars, *hollow, *marks, *names], label, height, width=WIDTH)


def _axes(dots: Sequence[Dot], height: float) -> tuple[Axis, Axis]:
    """Scales that hold all dots with their intervals, and room for names at both sides."""
    first, last = math.log(min(one.without for one in dots)), math.log(max(one.cost for one in dots))
    missing = max(0.0, NARROW - (last - first)) / 2
    first, last = first - missing, last + missing
    unit = (last - first) / (WIDTH - LEFT - RIGHT - sum(MARGINS))
    low, high = math.exp(first - MARGINS[0] * unit), math.exp(last + MARGINS[1] * unit)
    estimates = [one.estimate for one in dots]
    ends = [end for one in estimates for end in (one.low, one.high, one.value) if end is not None]
    pad = max(0.08 * (max(ends) - min(ends)), 0.1)
    across = Axis(low, high, LEFT, WIDTH - RIGHT, log=True)
    return across, Axis(min(ends) - pad, max(ends) + pad, height - BOTTOM, TOP)


def _time_ticks(x: Axis) -> list[float]:
    for times in TIMES:
        inside = [float(value) for value in times if x.low <= value <= x.high]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 6)]
    return x.ticks()


def _span(estimate: Estimate, y: Axis) -> tuple[float, float]:
    """Top and bottom of a dot with its interval."""
    middle = y(estimate.value)
    if estimate.low is None or estimate.high is None:
        return middle - 6, middle + 6
    return min(y(estimate.high), middle - 6), max(y(estimate.low), middle + 6)


def _spread(wanted: Sequence[float], spans: Sequence[tuple[float, float]]) -> list[float]:
    """Push dots apart sideways, by halves, where their spans overlap; the order of the costs stays."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    at = [wanted[index] for index in order]
    least = [[APART * (spans[a][0] < spans[b][1] and spans[b][0] < spans[a][1]) for b in order] for a in order]
    for _ in range(100):
        for a in range(len(at)):
            for b in range(a + 1, len(at)):
                push = max(0.0, least[a][b] - (at[b] - at[a])) / 2
                at[a], at[b] = at[a] - push, at[b] + push
    found = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        found[index] = round(max(at[: rank + 1]), 1)
    return found


def _hollow(x: float, y: float, estimate: Estimate, cost: str) -> Html:
    title = element("title", f"{estimate.name} without its generator: {fixed(estimate.value, 2)}; {cost}")
    return element("circle", title, cx=x, cy=y, r=4.2, class_=f"hollow {estimate.colour}")


def _names(dots: Sequence[Dot], at: Sequence[float], x: Axis, y: Axis) -> list[Html]:
    taken: list[tuple[Box, float]] = []
    for one, across in zip(dots, at, strict=True):
        value, low, high = y(one.estimate.value), one.estimate.low, one.estimate.high
        taken.append(((across - 6, value - 6, across + 6, value + 6), 20.0))
        if low is not None and high is not None:
            taken.append(((across - 1.5, y(high), across + 1.5, y(low)), 7.0))
        if one.without < one.cost:
            start = x(one.without)
            taken.append(((start - 5, value - 5, start + 5, value + 5), 15.0))
            taken.append(((start, value - 1, across, value + 1), 2.0))
    points = [(across, y(one.estimate.value)) for one, across in zip(dots, at, strict=True)]
    widths = [LETTER * len(short(one.estimate.name)) for one in dots]
    places = place(points, widths, taken, (x.start, y.end, x.end, y.start - 3))
    parts: list[Html] = []
    for one, point, found in zip(dots, points, places, strict=True):
        parts += label_at(short(one.estimate.name), point, found)
    return parts
