"""The course of a training: its schedules as planned, in as many steps as there is time for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clsp import console, distributed, files

_LOOKS = 40
"""Times that a training of planned length is looked at."""
_LEAST = 0.02
"""Fraction of the planned steps that a training takes at least, once its time is over: its rate has to fall to 0."""
_MOST = 4.0
"""Times the planned steps that a training takes at most, where it has more time than it needs."""
_FREE = 0.1
"""Fraction of the steps left by which the time may be missed before the course is changed."""
_ASKED = (0.7, 0.8, 0.9)
"""Fractions of the schedule after which it is asked whether what is trained serves: late enough for a slower end. What
does not serve yet gets a part of the time that there is for it, and is asked again: a falling rate mends much."""
_SHORT = 2.0
"""Seconds that are too short to tell a rate by."""
_TELLING = 1.5
"""How many times more or fewer steps the user is told of."""


@dataclass
class Course:
    """Steps of a training, and where each of them is in the schedules, which are written for ``planned`` steps."""

    planned: int
    turns: list[tuple[int, int]] = field(default_factory=list)
    """What was changed: from the first number of steps on, the training was to end after the second."""

    @property
    def steps(self) -> int:
        """Steps after which the training ends."""
        return self.turns[-1][1] if self.turns else self.planned

    def at(self, number: int) -> float:
        """Return the place of a step in the schedules, in [0, planned]: its own number while nothing was changed.

        Whatever was changed, the place grows with every step, and reaches ``planned`` at the end.
        """
        if not self.turns:
            return number
        place, begin, end = 0.0, 0, self.planned
        for step, last in self.turns:
            if number < step:
                break
            place += (self.planned - place) * (step - begin) / (end - begin)
            begin, end = step, last
        return place + (self.planned - place) * (number - begin) / (end - begin)

    def replay(self, turns: Iterable[Sequence[int]]) -> None:
        """Take the course that a training took.

        Raises:
            TypeError, ValueError: no training took such a course.
        """
        known, before = [(int(step), int(last)) for step, last in turns], 0
        for step, last in known:
            if not before <= step < last:
                raise ValueError(f"a course of {last} steps that was changed after {step}")
            before = step
        self.turns = known

    def turn(self, done: int, steps: int) -> None:
        """After ``done`` steps, let the training end after ``steps``; at least one is left."""
        steps = max(steps, done + 1)
        if steps != self.steps:
            self.turns.append((done, steps))


@dataclass
class Pace:
    """Keeps a training within its time: its course gets shorter where steps are slow, longer where they are quick."""

    seconds: float
    """Wall time that the training has, all attempts together."""
    spent: Callable[[], float] = time.monotonic
    """Tells the seconds that went into the training so far, all attempts together."""
    begin: float | None = None
    """The fraction of the planned steps that it begins with, and that it may not exceed: it is to be compared with a
    training that took so many. None: it may take what there is time for."""
    enough: Callable[[], bool] | None = None
    """Asked when most of the schedule is done, until it does: whether what is trained serves; None: it does."""
    more: float = 0.0
    """Seconds that the training gets besides where it never does."""
    _asked: int = 0
    """Times that it was asked, all attempts together."""
    _last: tuple[int, float] | None = None
    """Steps that were done at the last look, and its time."""
    _rates: list[float] = field(default_factory=list)
    """Seconds of a step, between the last looks."""
    _said: int = 0
    """Steps that the user was last told of."""

    def kept(self) -> list[float]:
        """What a checkpoint keeps: how often it was asked, and the whole time then; empty where it never was."""
        return [self._asked, self.seconds] if self._asked else []

    def resume(self, kept: Sequence[float]) -> None:
        """Go on with what `kept` returned: time that was given is not taken away.

        Raises:
            TypeError, ValueError: it returned nothing like that.
        """
        asked, seconds = kept or (0, 0.0)
        if not 0 <= int(asked) <= len(_ASKED):
            raise ValueError(f"a training that was asked {asked} times whether it serves")
        self._asked, self.seconds = int(asked), max(self.seconds, float(seconds))
        if self._asked == len(_ASKED):
            self.enough = None

    def start(self, course: Course, done: int) -> None:
        """Plan for the steps that it is to begin with, where none is done yet."""
        if self.begin is not None and not done:
            course.turn(0, round(self.begin * course.planned))

    def look(self, course: Course, done: int, title: str) -> None:
        """Change the course where the time would be missed.

        Args:
            course: of the training.
            done: steps that are done.
            title: of the training, for what is said.
        """
        every = max(course.planned // _LOOKS, 1)
        if done % every or done >= course.steps:
            return
        if self.enough is not None and course.at(done) >= _ASKED[self._asked] * course.planned:
            self._ask(title)
        steps = distributed.agreed(self._wanted(course, done) if distributed.rank() == 0 else None)
        if steps is not None and steps != course.steps:
            before = self._said or course.steps
            course.turn(done, steps)
            if course.steps < before / _TELLING or course.steps > _TELLING * before:
                more = "more" if course.steps > before else "less"
                told = f"{course.steps} steps in place of {before}"
                console.say(f"{title}: there is time for {more} than planned: {told}")
                self._said = course.steps

    def _ask(self, title: str) -> None:
        """Give the training more time where it does not serve yet."""
        assert self.enough is not None
        serves = distributed.agreed(self.enough() if distributed.rank() == 0 else True)
        self._asked += 1
        if serves or self._asked == len(_ASKED):
            self.enough = None
        if not serves and self.more:
            more = self.more / len(_ASKED)
            self.seconds += more
            console.say(f"{title}: what it draws is not good enough yet: it gets {console.duration(more)} more")

    def _wanted(self, course: Course, done: int) -> int | None:
        """Steps after which the training should end; None: nothing is to be changed."""
        now = time.monotonic()
        if self._last is not None:
            steps, seconds = done - self._last[0], now - self._last[1]
            if seconds < _SHORT:
                return None
            self._rates = [*self._rates[-2:], seconds / steps]
        self._last = (done, now)
        if not self._rates:
            return None
        fits = (self.seconds - self.spent()) / (sum(self._rates) / len(self._rates))
        left = course.steps - done
        if abs(fits - left) <= _FREE * left or (self.begin is not None and fits > left):
            return None
        least = max(round(_LEAST * course.planned), 1)
        return done + max(min(round(fits), round(_MOST * course.planned) - done), least)


def paced(pace: Pace | None, course: Course, facts: Mapping[str, Any], spent: Callable[[], float]) -> Pace | None:
    """Return the pace of a stage's training; None where its course is known: it is made again, byte for byte.

    Args:
        pace: what was asked for.
        course: of the training.
        facts: what is known of the stage.
        spent: tells the seconds that went into the stage, all attempts together.
    """
    if "course" in facts:
        with files.foreign("its course", "delete the stage's folder, and repeat the command"):
            course.replay(facts["course"])
        return None
    return None if pace is None else replace(pace, spent=spent)


def told(course: Course) -> dict[str, Any]:
    """The course as a stage's facts: the steps that were taken, and how they came about where the plan was changed."""
    return {"steps": course.steps, **({"planned": course.planned, "course": course.turns} if course.turns else {})}
