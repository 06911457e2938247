"""Where the names of dots stand, so that none covers another name, a dot or an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""

HEIGHT = 13.0
REACH = (8.0, 13.0, 20.0, 29.0, 40.0, 53.0, 68.0, 86.0)
"""Distances of a name from its dot that are tried, nearest first."""
DIRECTIONS = 16
PASSES = 6
LED = 12.0
"""A name that is farther away than this is joined to its dot by a line."""
OUTSIDE, COVERED, CROSSED = 60.0, 25.0, 160.0
"""Price of a unit of area outside or on another name, and of two lines that cross."""


@dataclass(frozen=True)
class Place:
    """A place for a name."""

    box: Box
    price: float
    leader: tuple[Point, Point] | None
    """The line from the dot to the name."""


def place(
    dots: Sequence[Point], widths: Sequence[float], obstacles: Sequence[tuple[Box, float]], bounds: Box
) -> list[Place]:
    """Choose a place for the name of every dot.

    All start at the place that is best without the others; then each in turn moves to where it is best given the
    others, until none moves.

    Args:
        dots: where the dots are.
        widths: how wide the names are.
        obstacles: what should stay free, with the price of a unit of its area.
        bounds: where names may stand.

    Returns:
        One place per dot.
    """
    choices = [_choices(dot, width, obstacles, bounds) for dot, width in zip(dots, widths, strict=True)]
    chosen = [min(places, key=lambda one: one.price) for places in choices]
    for _ in range(PASSES):
        before = list(chosen)
        for index, places in enumerate(choices):
            others = chosen[:index] + chosen[index + 1 :]
            chosen[index] = min(places, key=lambda one: one.price + sum(_conflict(one, other) for other in others))
        if chosen == before:
            break
    return chosen


def overlap(first: Box, second: Box) -> float:
    """The area that two boxes share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return width * height if width > 0 and height > 0 else 0.0


def _choices(dot: Point, width: float, obstacles: Sequence[tuple[Box, float]], bounds: Box) -> list[Place]:
    places = []
    for reach in REACH:
        for turn in range(DIRECTIONS):
            angle = 2 * math.pi * turn / DIRECTIONS
            box = _box(dot, reach, angle, width)
            leader = (dot, _nearest(box, dot)) if reach > LED else None
            # Near is good, and so is the right side, then the left, where a name is read on from its dot.
            price = 4 * reach + 10 * abs(math.sin(angle)) + 3 * (math.cos(angle) < 0)
            price += OUTSIDE * (width * HEIGHT - overlap(box, bounds))
            price += sum(weight * overlap(box, taken) for taken, weight in obstacles)
            places.append(Place(box, price + (_passed(leader, obstacles) if leader else 0.0), leader))
    return places


def _box(dot: Point, reach: float, angle: float, width: float) -> Box:
    across, down = math.cos(angle), math.sin(angle)
    x, y = dot[0] + reach * across, dot[1] + reach * down
    left = x if across > 0.3 else x - width if across < -0.3 else x - width / 2
    top = y - HEIGHT / 2 if abs(across) > 0.3 else y if down > 0 else y - HEIGHT
    return left, top, left + width, top + HEIGHT


def _nearest(box: Box, point: Point) -> Point:
    return min(max(point[0], box[0]), box[2]), min(max(point[1], box[1] + 3), box[3] - 3)


def _passed(leader: tuple[Point, Point], obstacles: Sequence[tuple[Box, float]]) -> float:
    """The price of what a leader passes over, by points on it."""
    (x, y), (to_x, to_y) = leader
    points = [(x + part * (to_x - x), y + part * (to_y - y)) for part in (0.35, 0.5, 0.65, 0.8, 0.95)]
    return sum(
        8 * weight for box, weight in obstacles for a, b in points if box[0] < a < box[2] and box[1] < b < box[3]
    )


def _conflict(first: Place, second: Place) -> float:
    price = COVERED * overlap(_grown(first.box), _grown(second.box))
    if first.leader and second.leader and _cross(*first.leader, *second.leader):
        price += CROSSED
    for one, other in ((first, second), (second, first)):
        if one.leader and _passed(one.leader, [(other.box, 20.0)]):
            price += CROSSED
    return price


def _grown(box: Box) -> Box:
    return box[0] - 2, box[1], box[2] + 2, box[3]


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    def side(p: Point, q: Point, r: Point) -> bool:
        return (q[0] - p[0]) * (r[1] - p[1]) > (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) != side(a, b, d) and side(c, d, a) != side(c, d, b)
