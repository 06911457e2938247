"""Figures that stand alone: charts of estimates over anything, laid out in one SVG file with the page's colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from clsp.report.charts import Axis, Estimate, dot, frame, label_at, line, path, spoken, svg, text_at
from clsp.report.html import Html, element
from clsp.report.labels import Box, place

SIZE = 330.0, 210.0
"""Width and height of a panel without its title."""
TITLE, GAP, KEY = 22, 20, 17
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 8, 42
LETTER = 6.4
"""Width of a letter."""


@dataclass(frozen=True)
class Mark:
    """A dot with its upright interval."""

    x: float
    estimate: Estimate
    name: str = ""
    """What is written beside it."""
    strength: float = 1.0
    """How dark it is, from 0 to 1."""


@dataclass(frozen=True)
class Panel:
    """A chart under its title."""

    title: str
    chart: Html


def estimates_over(
    marks: Sequence[Mark],
    x: tuple[float, float],
    y: tuple[float, float],
    *,
    label: str,
    x_label: str = "",
    x_ticks: Sequence[tuple[float, str]] | None = None,
    log: bool = False,
    levels: Sequence[tuple[float, str]] = (),
    upright: float | None = None,
    joined: bool = False,
    size: tuple[float, float] = SIZE,
) -> Html:
    """Draw estimates over a quantity, or over places with names.

    Args:
        marks: the dots, in the order in which lines join them.
        x: the ends of the horizontal axis.
        y: the ends of the vertical axis.
        label: what a screen reader says.
        x_label: stands below the horizontal axis.
        x_ticks: names of places; else round values are chosen.
        log: whether the horizontal axis is logarithmic.
        levels: values to which dashed lines are drawn, with the CSS class of their colour.
        upright: where a dashed upright line is drawn.
        joined: whether lines join the dots of a colour.
        size: width and height.
    """
    width, height = size
    right, base = width - RIGHT, height - BOTTOM
    across, up = Axis(*x, LEFT, right, log), Axis(*y, base, TOP)
    parts = frame(across, up, "", x_ticks)
    parts.append(text_at(x_label, (LEFT + right) / 2, height - 6, class_="unit"))
    parts += [line(LEFT, up(value), right, up(value), f"alone {colour}") for value, colour in levels]
    if upright is not None:
        parts.append(line(across(upright), TOP, across(upright), base, "cursor"))
    if joined:
        for colour in dict.fromkeys(one.estimate.colour for one in marks):
            points = [(one.x, one.estimate.value) for one in marks if one.estimate.colour == colour]
            parts.append(path(points, across, up, f"curve {colour}"))
    taken: list[tuple[Box, float]] = []
    for one in marks:
        known, at, middle = one.estimate, across(one.x), up(one.estimate.value)
        taken.append(((at - 5, middle - 5, at + 5, middle + 5), 20.0))
        if known.low is not None and known.high is not None:
            parts.append(line(at, up(known.low), at, up(known.high), f"spread {known.colour}"))
            taken.append(((at - 1.5, up(known.high), at + 1.5, up(known.low)), 4.0))
    for one in marks:
        drawn = dot(across(one.x), up(one.estimate.value), 4, one.estimate.colour, spoken(one.estimate))
        parts.append(drawn if one.strength == 1.0 else element("g", drawn, opacity=round(one.strength, 2)))
    parts += _names([one for one in marks if one.name], across, up, taken)
    return svg(parts, label, height, width=width)


def _names(marks: Sequence[Mark], x: Axis, y: Axis, taken: Sequence[tuple[Box, float]]) -> list[Html]:
    points = [(x(one.x), y(one.estimate.value)) for one in marks]
    widths = [LETTER * len(one.name) for one in marks]
    places = place(points, widths, taken, (x.start, y.end, x.end, y.start - 3))
    return [part for one, point, at in zip(marks, points, places) for part in label_at(one.name, point, at)]


def sheet(
    panels: Sequence[Panel],
    *,
    label: str,
    columns: int,
    legend: Sequence[tuple[str, str]] = (),
    key: Sequence[str] = (),
    size: tuple[float, float] = SIZE,
) -> str:
    """Lay panels out in one SVG file, which follows its reader's light or dark theme.

    Args:
        panels: row by row.
        label: what a screen reader says.
        columns: panels a row.
        legend: names and CSS classes of the colours, above the panels.
        key: lines of text below them.
        size: width and height of each panel.
    """
    wide, high = size
    top = GAP + (KEY + GAP // 2 if legend else 0)
    width = GAP + columns * (wide + GAP)
    parts = [element("style", Html(_styles())), element("rect", width="100%", height="100%", style="fill:var(--paper)")]
    left = float(GAP + LEFT)
    for name, colour in legend:
        parts += [dot(left, GAP + 4, 4.5, colour), text_at(name, left + 10, GAP + 8, "start", "name")]
        left += 34 + LETTER * len(name)
    for number, panel in enumerate(panels):
        x, y = GAP + number % columns * (wide + GAP), top + number // columns * (TITLE + high + GAP)
        parts.append(text_at(panel.title, x + LEFT, y + 13, "start", "value"))
        box = {"x": f"{x:g}", "y": f"{y + TITLE:g}", "width": f"{wide:g}", "height": f"{high:g}"}
        parts.append(element("svg", panel.chart, **box))
    bottom = top + math.ceil(len(panels) / columns) * (TITLE + high + GAP)
    parts += [text_at(text, GAP + LEFT, bottom + 12 + KEY * row, "start", "key") for row, text in enumerate(key)]
    height = bottom + (KEY * len(key) + GAP if key else 0)
    attributes = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width:g} {height:g}", "class_": "chart"}
    return (
        element("svg", parts, width=f"{width:g}", height=f"{height:g}", role="img", aria_label=label, **attributes)
        + "\n"
    )


def _styles() -> str:
    """The page's colours and what it says of charts."""
    css = resources.files("clsp.report").joinpath("page.css").read_text(encoding="utf-8")
    colours, _, rest = css.partition("\n\n")
    return "\n".join([colours, *(line for line in rest.splitlines() if line.startswith(".chart "))])
