"""Curves over training steps: of one run, or the mean of several with the band around it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clsp.evaluation.statistics import interval
from clsp.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Point, dot, frame, path, svg
from clsp.report.html import Html, data_block, element
from clsp.report.numbers import is_number, number

POINTS = 240
"""A curve is drawn with at most about this many points: more cannot be seen."""
LONG = 60
"""Curves with more points than this are smoothed: they are noise from step to step."""
SPARSE = 24
"""Curves of one run with at most so many points show them as dots."""


@dataclass(frozen=True)
class Level:
    """One point of a curve."""

    step: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """One curve with its band."""

    name: str
    colour: str
    """A CSS class that sets ``--c``."""
    levels: Sequence[Level]
    raw: Sequence[Point] = ()
    """Of one long run, the values before they were smoothed."""


def series_of(records: Sequence[Mapping[str, object]], key: str) -> list[Point]:
    """The finite values of ``key`` over ``step``; records that have no step are counted."""
    found = []
    for index, record in enumerate(records):
        step, value = record.get("step", index), record.get(key)
        if is_number(step) and is_number(value):
            found.append((float(step), float(value)))
    return found


def curve(name: str, colour: str, runs: Sequence[Sequence[Point]], *, log: bool = False) -> Curve:
    """Join the curves of the runs at the steps that all of them have; long ones are smoothed before.

    Args:
        name: what is drawn.
        colour: a CSS class.
        runs: the points of each run.
        log: whether the values are drawn logarithmically, so that only positive ones are.
    """
    runs = [[point for point in run if not log or point[1] > 0] for run in runs]
    runs = [run for run in runs if run]
    raw = runs[0] if len(runs) == 1 and len(runs[0]) > LONG else ()
    found = [dict(smooth(run, log=log) if len(run) > LONG else run) for run in runs]
    common = sorted(set[float]().union(*found).intersection(*found))
    steps = [step for step, _ in thinned([(step, 0.0) for step in common])]
    return Curve(name, colour, [_level(step, [values[step] for values in found]) for step in steps], raw)


def _level(step: float, values: Sequence[float]) -> Level:
    """The mean with its 95 % interval; of fewer than three runs, with their range."""
    known = interval(values) if len(values) > 1 else None
    if known is None:
        return Level(step, values[0], values[0], values[0])
    if len(values) < 3 or known.low is None or known.high is None:
        return Level(step, known.mean, min(values), max(values))
    return Level(step, known.mean, known.low, known.high)


def smooth(points: Sequence[Point], *, log: bool = False) -> list[Point]:
    """A running mean, centred, over about a twentieth of the points (geometric when ``log``)."""
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + (math.log(y) if log else y))
    smoothed = []
    for index, (x, _) in enumerate(points):
        # The window grows from the first point on, since the steep start of a curve would be flattened.
        reach = min(index, max(1, len(points) // 40))
        first, last = index - reach, min(index + reach + 1, len(points))
        mean = (sums[last] - sums[first]) / (last - first)
        smoothed.append((x, math.exp(mean) if log else mean))
    return smoothed


def thinned(points: Sequence[Point], count: int = POINTS) -> list[Point]:
    """Every n-th point, and the last."""
    stride = math.ceil(len(points) / count)
    kept = list(points[::stride]) if stride > 1 else list(points)
    return kept if not kept or kept[-1] == points[-1] else [*kept, points[-1]]


def extent(curves: Sequence[Curve], *, log: bool = False) -> tuple[Axis, Axis] | None:
    """Scales from 0 to 1 that hold all ``curves``, for charts that are to be compared; None without a point.

    Bands and raw values that reach much farther than the means (few seeds, an early step) are cut at the edge.
    """
    levels = [level for one in curves for level in one.levels]
    if not levels:
        return None
    scaled, back = (math.log, math.exp) if log else (float, float)
    low, high = (scaled(f(level.mean for level in levels)) for f in (min, max))
    room = 0.3 * (high - low) or 0.5
    ordered = [sorted(value for _, value in one.raw) for one in curves if one.raw]
    ends = [scaled(values[place]) for values in ordered for place in (len(values) // 50, -1 - len(values) // 50)]
    ends += [scaled(end) for level in levels for end in (level.low, level.high) if not log or end > 0]
    low, high = max(low - room, min(ends)), min(high + room, max(ends))
    pad = 0.04 * (high - low) or 0.5
    steps = [level.step for level in levels]
    return Axis(min(steps), max(steps), 0, 1), Axis(back(low - pad), back(high + pad), 0, 1, log)


def curve_chart(
    curves: Sequence[Curve],
    *,
    label: str,
    scales: tuple[Axis, Axis] | None = None,
    log: bool = False,
    width: float = WIDTH,
    height: float = HEIGHT,
) -> Html:
    """Draw ``curves`` over the steps.

    Args:
        curves: the curves; those without a point are left out.
        label: what a screen reader says.
        scales: see `extent`; those of these curves where they are not given.
        log: whether the values are drawn logarithmically.
        width: of the drawing.
        height: of the drawing.

    Returns:
        An ``svg`` followed by a data block for the hover, or nothing if no curve has a point.
    """
    curves = [one for one in curves if one.levels]
    scales = scales or extent(curves, log=log)
    if not curves or scales is None:
        return Html()
    x = Axis(scales[0].low, scales[0].high, LEFT, width - RIGHT)
    y = Axis(scales[1].low, scales[1].high, height - BOTTOM, TOP, scales[1].log)
    drawn = frame(x, y, "step")
    drawn += [path(thinned(one.raw, 2 * POINTS), x, y, f"raw {one.colour}") for one in curves if one.raw]
    drawn += [_band(one, x, y) for one in curves]
    for one in curves:
        points = [(level.step, level.mean) for level in one.levels]
        drawn.append(path(points, x, y, f"curve {one.colour}"))
        if len(points) <= SPARSE and _is_thin(one):
            drawn += [dot(x(a), y(b), 2.2, one.colour) for a, b in points]
    hover = [{"name": one.name, "colour": one.colour, "points": [_row(v, x, y) for v in one.levels]} for one in curves]
    return Html(svg(drawn, label, height, "chart curves", width) + data_block(hover, "hover"))


def _is_thin(one: Curve) -> bool:
    return all(level.low == level.high for level in one.levels)


def _band(one: Curve, x: Axis, y: Axis) -> Html:
    if _is_thin(one):
        return Html()
    edge = [(level.step, level.high) for level in one.levels]
    edge += [(level.step, level.low) for level in reversed(one.levels)]
    steps = "L".join(f"{x(a):g} {y(b):g}" for a, b in edge)
    return element("path", d=f"M{steps}Z", class_=f"band {one.colour}")


def _row(level: Level, x: Axis, y: Axis) -> list[float | str]:
    limits = f" ({number(level.low)} to {number(level.high)})" if level.low < level.high else ""
    return [x(level.step), y(level.mean), number(level.step), number(level.mean) + limits]
