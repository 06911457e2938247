"""Ranges belong to types: what each lets through, and the words with which it refuses the rest."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le

from clsp.errors import UserError
from clsp.settings import types
from clsp.settings.describe import describe
from clsp.settings.types import settings
from clsp.settings.values import build

GOOD_AND_BAD = {
    "Count": ([1, 7], [(0, "at least 1"), (-3, "at least 1"), (1.5, "a whole number"), ("one", "a whole number")]),
    "AtLeastTwo": ([2], [(1, "at least 2")]),
    "Side": ([4], [(3, "at least 4")]),
    "AtLeastEight": ([8], [(7, "at least 8")]),
    "Positive": ([1e-9, 3], [(0, "above 0"), (-1.0, "above 0"), ("fast", "a number"), ("nan", "a finite number")]),
    "NonNegative": ([0, 2.5], [(-0.1, "at least 0"), ("inf", "a finite number")]),
    "NonNegativeInt": ([0, 5], [(-1, "at least 0"), (0.5, "a whole number")]),
    "Fraction": ([0, 0.5, 1], [(-0.1, "at least 0"), (1.1, "at most 1")]),
    "ProperFraction": ([0, 0.99], [(1, "below 1"), (-1, "at least 0")]),
    "PositiveFraction": ([0.01, 1], [(0, "above 0"), (2, "at most 1")]),
    "Numbers": ([[0.1], [1, 2]], [([], "a list of one or more numbers"), ([0.1, 0], "above 0"), (3, "a list: [1, 2]")]),
    "Counts": ([[1], [2, 1]], [([], "a list of one or more numbers"), ([1, 0], "at least 1")]),
    "Interval": (
        [[0.2, 1.0], [1, 1]],
        [(bad, "two numbers above 0, the smaller one first: [0.2, 1.0]") for bad in ([1, 0.2], [0, 1], [1], [1, 2, 3])],
    ),
    "Momentum": (
        [[0.99, 1.0], [1, 0]],
        [(bad, "two numbers between 0 and 1: [0.99, 0.999]") for bad in ([0.9], [0.9, 1.1], [-0.1, 0.5])],
    ),
    "Pair": ([[0.07, 0.04]], [(bad, "two numbers above 0: [0.04, 0.07]") for bad in ([0.07], [0.07, 0])]),
}


def one(hint):
    """A class of settings with one setting of a type."""
    return settings(type("One", (), {"__annotations__": {"value": hint}, "value": field()}))


def cases(which):
    return [(name, value) for name, both in GOOD_AND_BAD.items() for value in both[which]]


def test_every_type_is_tested_here():
    kinds = {name for name, kind in vars(types).items() if hasattr(kind, "__metadata__")}
    assert kinds == set(GOOD_AND_BAD)


@pytest.mark.parametrize(("name", "value"), cases(0))
def test_what_is_in_range_is_taken(name, value):
    assert build(one(getattr(types, name)), {"value": value}).value == value
    assert build(one(getattr(types, name)), {"value": str(value)}).value == value


@pytest.mark.parametrize(("name", "case"), cases(1))
def test_what_is_out_of_range_is_one_line_with_option_value_and_what_is_allowed(name, case):
    value, allowed = case
    for given in (value, str(value)):
        with pytest.raises(UserError) as error:
            build(one(getattr(types, name)), {"value": given}, "some.")
        text = str(error.value)
        assert text.startswith("--some.value ")
        assert text.endswith(f" must be {allowed}")
        assert "\n" not in text


@pytest.mark.parametrize("name", GOOD_AND_BAD)
def test_help_says_the_range(name):
    (option,) = describe(one(getattr(types, name)))
    assert option.kind
    assert option.kind != "a number"


@settings
class Mixed:
    """A bit of everything."""

    share: Annotated[float, Ge(0), Le(0.5)] = 0.1
    """A share."""
    kind: Literal["auto", "none"] = "auto"
    """A kind."""
    side: Literal[1, 3] | None = None
    """A side."""
    flag: bool = False
    """A flag."""
    table: dict[str, Any] = field(default_factory=dict)
    """A table."""
    lists: list[Literal["a", "b"]] = field(default_factory=list)
    """Letters."""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "aut"}, "--kind 'aut' is not one of auto, none; did you mean 'auto'?"),
        ({"side": 2}, "--side 2 is not one of 1, 3"),
        ({"flag": "maybe"}, "--flag 'maybe' must be true or false"),
        ({"table": "{a:1}"}, "--table '{a:1}' must be a mapping such as '{layers: [1, 1, 1, 1]}' (with a space"),
        ({"share": 0.6}, "--share 0.6 must be at most 0.5"),
        ({"share": None}, "--share null must be a number"),
        ({"lists": ["a", "c"]}, "--lists 'c' is not one of a, b"),
        ({"shar": 1}, "unknown option --shar; did you mean '--share'?"),
        ({"nothing.like.it": 1}, "unknown option --nothing.like.it"),
    ],
)
def test_a_message_names_the_option_the_value_what_is_allowed_and_what_was_meant(given, words):
    with pytest.raises(UserError) as error:
        build(Mixed, given)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_the_words_of_help():
    kinds = {option.name: option.kind for option in describe(Mixed)}
    assert kinds == {
        "share": "a number from 0 to 0.5",
        "kind": "one of auto, none",
        "side": "one of 1, 3 or null",
        "flag": "true or false",
        "table": "a mapping",
        "lists": "a list of one of a, b",
    }


def test_values_are_checked_also_when_python_makes_them():
    with pytest.raises(ValueError):
        Mixed(share=0.7)
    with pytest.raises(ValueError):
        Mixed(nothing=1)
