"""The course of a training: its schedules as planned, in as many steps as there is time for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from clsp import console, distributed

_LOOKS = 40
"""Times that a training of planned length is looked at."""
_LEAST = 0.02
"""Fraction of the planned steps that a training takes at least, once its time is over: its rate has to fall to 0."""
_MOST = 4.0
"""Times the planned steps that a training takes at most, where it has more time than it needs."""
_FREE = 0.05
"""Fraction of the steps left by which the time may be missed before the course is changed."""


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
    begin: int | None = None
    """Steps to plan for at first, in place of the settings'; None: those."""
    fixed: bool = False
    """Whether it may become shorter alone: it is to be compared with another of the same length."""
    _last: tuple[int, float] | None = None
    _rates: list[float] = field(default_factory=list)
    """Seconds of a step, between the last looks."""

    def start(self, course: Course, done: int) -> None:
        """Plan for the steps that it was told, where no step is done yet."""
        if self.begin is not None and not done:
            course.turn(0, self.begin)

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
        steps = distributed.agreed(self._wanted(course, done) if distributed.rank() == 0 else None)
        if steps is not None and steps != course.steps:
            before = course.steps
            course.turn(done, steps)
            if distributed.rank() == 0 and (course.steps < 0.8 * before or course.steps > 1.25 * before):
                why = "slower" if course.steps < before else "quicker"
                console.say(f"{title}: steps are {why} than planned: {course.steps} of them in place of {before}")

    def _wanted(self, course: Course, done: int) -> int | None:
        """Steps after which the training should end; None: nothing is to be changed."""
        now = time.monotonic()
        if self._last is not None and done > self._last[0]:
            self._rates = [*self._rates[-2:], (now - self._last[1]) / (done - self._last[0])]
        self._last = (done, now)
        if not self._rates:
            return None
        fits = (self.seconds - self.spent()) / (sum(self._rates) / len(self._rates))
        left = course.steps - done
        if abs(fits - left) <= _FREE * left or (self.fixed and fits > left):
            return None
        least = max(round(_LEAST * course.planned), 1)
        return done + max(min(round(fits), round(_MOST * course.planned) - done), least)
