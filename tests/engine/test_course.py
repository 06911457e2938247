"""A training that is given a time: its schedules come to their end, whatever the machine does on the way."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch
from test_fit import STEPS, Line, checkpoint_of, fit

from clsp.engine.course import Course, Pace


def test_a_course_that_nothing_changed_is_the_plan():
    course = Course(24)
    assert course.steps == 24
    assert [course.at(number) for number in range(25)] == list(range(25))


def test_whatever_is_changed_the_place_grows_without_a_jump_and_ends_at_the_plans_end():
    draws = random.Random(3)
    for _ in range(200):
        course, done = Course(draws.randint(2, 500)), 0
        for _ in range(draws.randint(1, 6)):
            before = course.at(done)
            course.turn(done, draws.randint(0, 900))
            assert course.at(done) == pytest.approx(before)
            done = draws.randint(done, course.steps - 1)
        places = [course.at(number) for number in range(course.steps + 1)]
        assert places[0] == 0 and places[-1] == pytest.approx(course.planned)
        assert all(first < second for first, second in pairwise(places))


class Slow(Line):
    """A step of it takes ``seconds`` of the clock, and ``later`` from the step ``when`` on."""

    def __init__(self, clock, seconds, *, later=None, when=0, steps=400):
        super().__init__(steps=steps)
        self.clock, self.seconds, self.later, self.when = clock, seconds, later, when

    def optimizer(self):
        chosen = torch.optim.SGD(self.parameters(), lr=1e-3)
        return chosen, torch.optim.lr_scheduler.LambdaLR(chosen, lambda step: 1.0 - self.course.at(step) / 400)

    def step(self, number):
        self.clock.now += self.later if self.later is not None and number >= self.when else self.seconds
        return super().step(number)


class Clock:
    """A clock that only the steps move."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr("clsp.engine.course.time.monotonic", found)
    return found


def run(folder, training, pace):
    made = fit(folder)
    made.pace = pace
    made.run(training)
    return training


@pytest.mark.parametrize("seconds, expected", [(1.0, 400), (2.0, 200), (0.5, 800)])
def test_a_training_takes_as_many_steps_as_its_time_allows(tmp_path, clock, seconds, expected):
    training = run(tmp_path, Slow(clock, seconds), Pace(400.0, clock))
    assert training.steps == pytest.approx(expected, rel=0.06)
    assert clock.now == pytest.approx(400.0, rel=0.06)
    assert training.counted == training.steps
    assert training.course.at(training.steps) == pytest.approx(400)


def test_where_steps_become_slow_midway_the_rest_is_shorter(tmp_path, clock):
    training = run(tmp_path, Slow(clock, 1.0, later=5.0, when=200), Pace(400.0, clock))
    assert clock.now == pytest.approx(400.0, rel=0.1)
    assert 200 < training.steps < 260


def test_a_training_without_time_still_comes_to_its_end(tmp_path, clock):
    training = run(tmp_path, Slow(clock, 1.0), Pace(0.0, clock))
    assert 0 < training.steps < 40
    assert training.course.at(training.steps) == pytest.approx(400)


def test_one_that_is_compared_with_another_begins_as_long_and_does_not_grow(tmp_path, clock):
    assert run(tmp_path, Slow(clock, 0.1), Pace(400.0, clock, begin=0.375)).steps == 150


def test_what_was_changed_survives_a_stop(tmp_path, clock):
    """A resumed training keeps its course, and with it the bytes of the one that went through."""

    class Stopped(Slow):
        def step(self, number):
            if number == 60:
                raise KeyboardInterrupt
            return super().step(number)

    whole = run(tmp_path / "whole", Slow(clock, 2.0), Pace(400.0, clock))
    clock.now = 0.0
    made = fit(tmp_path / "two", minutes=0)
    made.pace = Pace(400.0, clock)
    with pytest.raises(KeyboardInterrupt):
        made.run(Stopped(clock, 2.0))
    again = run(tmp_path / "two", Slow(clock, 2.0), None)  # the course was settled by then
    assert again.course.turns == whole.course.turns and len(whole.course.turns) == 1
    assert checkpoint_of(tmp_path / "two") == checkpoint_of(tmp_path / "whole")


def test_without_a_pace_nothing_of_it_is_in_the_checkpoint(tmp_path):
    fit(tmp_path).run(Line(steps=STEPS))
    assert b"course" not in checkpoint_of(tmp_path)


@pytest.mark.parametrize(
    ("answers", "expected"), [([True], 400), ([False, True], 460), ([False, False, True], 520), ([False] * 3, 580)]
)
def test_what_does_not_serve_near_the_end_of_its_schedule_gets_more_time_in_parts(tmp_path, clock, answers, expected):
    left = list(answers)
    training = run(tmp_path, Slow(clock, 1.0), Pace(400.0, clock, enough=lambda: left.pop(0), more=180.0))
    assert training.steps == pytest.approx(expected, rel=0.06) and not left
    assert clock.now == pytest.approx(expected, rel=0.06)
    assert training.course.at(training.steps) == pytest.approx(400)


@pytest.mark.parametrize(("kill", "answers"), [(345, [False, False, True]), (480, [False] * 3)])
def test_time_that_was_given_is_not_taken_away_by_a_stop(tmp_path, clock, kill, answers):
    """A resumed training is not asked again what it answered, and ends after as many steps as one that went through."""

    class Stopped(Slow):
        def step(self, number):
            if number == kill:
                raise KeyboardInterrupt
            return super().step(number)

    whole = run(
        tmp_path / "whole", Slow(clock, 1.0), Pace(400.0, clock, enough=list(reversed(answers)).pop, more=180.0)
    )
    clock.now, left = 0.0, list(reversed(answers))
    made = fit(tmp_path / "two", minutes=0)
    made.pace = Pace(400.0, clock, enough=left.pop, more=180.0)
    with pytest.raises(KeyboardInterrupt):
        made.run(Stopped(clock, 1.0))
    # What is planned for a stage that had more than its share is only what it took.
    again = run(tmp_path / "two", Slow(clock, 1.0), Pace(float(kill), clock, enough=left.pop, more=180.0))
    assert again.steps == pytest.approx(whole.steps, rel=0.06) and not left
