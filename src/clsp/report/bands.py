"""Curves over several seeds: the mean, and the band around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clsp.comparison.statistics import interval
from clsp.report.charts import BOTTOM, LEFT, RIGHT, TOP, Axis, Point, frame, path, smooth, svg, thinned
from clsp.report.html import Html, data_block, element
from clsp.report.numbers import number

POINTS = 120
"""A band is drawn with at most about this many points."""
LONG = 60
"""Curves with more points than this are smoothed: they are noise from step to step."""


@dataclass(frozen=True)
class Level:
    """One point of a band."""

    step: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Band:
    """One curve with its band."""

    name: str
    colour: str
    """A CSS class that sets ``--c``."""
    levels: Sequence[Level]


def band(name: str, colour: str, curves: Sequence[Sequence[Point]]) -> Band:
    """Join the curves of the seeds at the steps that all of them have."""
    curves = [smooth(curve) if len(curve) > LONG else curve for curve in curves if curve]
    found = [dict(curve) for curve in curves]
    common = sorted(set[float]().union(*found).intersection(*found))
    steps = [step for step, _ in thinned([(step, 0.0) for step in common], POINTS)]
    return Band(name, colour, [_level(step, [values[step] for values in found]) for step in steps])


def _level(step: float, values: Sequence[float]) -> Level:
    """The mean with its 95 % interval; of fewer than three seeds, with their range."""
    known = interval(values)
    if len(values) < 3 or known.low is None or known.high is None:
        return Level(step, known.mean, min(values), max(values))
    return Level(step, known.mean, known.low, known.high)


def extent(bands: Sequence[Band]) -> tuple[Axis, Axis] | None:
    """Scales from 0 to 1 that hold all ``bands``, for charts that are to be compared; None without a point.

    A band that is much wider than the means are apart (few seeds, an early step) is cut at the edge.
    """
    levels = [level for one in bands for level in one.levels]
    if not levels:
        return None
    low, high = min(level.mean for level in levels), max(level.mean for level in levels)
    room = 0.3 * (high - low) or 0.5
    low, high = max(low - room, min(v.low for v in levels)), min(high + room, max(v.high for v in levels))
    pad = 0.04 * (high - low) or 0.5
    steps = [level.step for level in levels]
    return Axis(min(steps), max(steps), 0, 1), Axis(low - pad, high + pad, 0, 1)


def band_chart(bands: Sequence[Band], scales: tuple[Axis, Axis], *, label: str, width: float, height: float) -> Html:
    """Draw ``bands`` over the steps, followed by a data block for the hover."""
    x = Axis(scales[0].low, scales[0].high, LEFT, width - RIGHT)
    y = Axis(scales[1].low, scales[1].high, height - BOTTOM, TOP)
    drawn = frame(x, y, "step")
    drawn += [_area(one, x, y) for one in bands]
    drawn += [path([(v.step, v.mean) for v in one.levels], x, y, f"curve {one.colour}") for one in bands if one.levels]
    hover = [{"name": one.name, "colour": one.colour, "points": [_row(v, x, y) for v in one.levels]} for one in bands]
    return Html(svg(drawn, label, height, "chart curves", width) + data_block(hover, "hover"))


def _area(one: Band, x: Axis, y: Axis) -> Html:
    if all(level.low == level.high for level in one.levels):
        return Html()
    edge = [(level.step, level.high) for level in one.levels]
    edge += [(level.step, level.low) for level in reversed(one.levels)]
    steps = "L".join(f"{x(a):g} {y(b):g}" for a, b in edge)
    return element("path", d=f"M{steps}Z", class_=f"band {one.colour}")


def _row(level: Level, x: Axis, y: Axis) -> list[float | str]:
    limits = f" ({number(level.low)} to {number(level.high)})" if level.low < level.high else ""
    return [x(level.step), y(level.mean), number(level.step), number(level.mean) + limits]
