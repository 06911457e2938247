"""The kinds of values that settings have: a range belongs to a type, and is checked where a value is made.

    @settings
    class NNCLRSettings:
        temperature: Positive = 0.2
        \"\"\"tau of InfoNCE.\"\"\"

A setting's meaning is the string below it. ``--help`` shows it, with the range of its type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, TypeVar, cast

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import AfterValidator, ConfigDict
from pydantic.dataclasses import dataclass as checked
from typing_extensions import dataclass_transform  # pydantic brings it

Config = TypeVar("Config", bound=type)
Base = TypeVar("Base")


@dataclass_transform(kw_only_default=True)
def settings(config: Config) -> Config:
    """Make a class of settings: a dataclass whose values are checked, and read from YAML's or a command line's text."""
    options = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    return cast(Config, checked(config, kw_only=True, config=options))


def sections(classes: Iterable[tuple[str, type]]) -> dict[str, type]:
    """Return those of some named classes of settings that have any, for `extended`."""
    return {name: made for name, made in classes if fields(made)}


def extended(config: type[Base], more: Mapping[str, type]) -> type[Base]:
    """Make a class of settings with a further section for each of ``more``: what is known only once it was found."""
    names = {name: field(default_factory=made) for name, made in more.items()}
    body = {"__annotations__": dict(more), "__module__": config.__module__, "__doc__": config.__doc__, **names}
    return settings(type(config.__name__, (config,), body))


@dataclass(frozen=True)
class _Incidental:
    """Marks a setting that changes nothing in what a stage makes: it is no part of the stage's identity."""


Incidental = _Incidental()
"""``Annotated[int, Incidental]``: see `clsp.settings.identity`."""


def rule(words: str, test: Callable[[Any], bool]) -> AfterValidator:
    """Return a check for `Annotated`: a value that fails ``test`` is answered with ``words``, what is allowed."""

    def check(value: Any) -> Any:
        if not test(value):
            raise ValueError(words)
        return value

    check.words = words  # type: ignore[attr-defined]
    return AfterValidator(check)


Count = Annotated[int, Ge(1)]
"""A whole number of at least 1."""
AtLeastTwo = Annotated[int, Ge(2)]
Side = Annotated[int, Ge(4)]
"""Height and width of an image in pixels."""
AtLeastEight = Annotated[int, Ge(8)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
NonNegativeInt = Annotated[int, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
"""From 0 to 1."""
ProperFraction = Annotated[float, Ge(0), Lt(1)]
"""From 0 to 1, without 1."""
PositiveFraction = Annotated[float, Gt(0), Le(1)]
"""From 0 to 1, without 0."""
Numbers = Annotated[list[Positive], MinLen(1)]
"""One or more numbers above 0."""
Counts = Annotated[list[Count], MinLen(1)]
"""One or more whole numbers of at least 1."""
Interval = Annotated[
    list[float],
    rule("two numbers above 0, the smaller one first: [0.2, 1.0]", lambda v: len(v) == 2 and 0 < v[0] <= v[1]),
]
"""Two numbers above 0, the smaller one first."""
Momentum = Annotated[
    list[float],
    rule("two numbers between 0 and 1: [0.99, 0.999]", lambda v: len(v) == 2 and all(0 <= x <= 1 for x in v)),
]
"""Decay of a moving average at the first and at the last step."""
Pair = Annotated[
    list[float], rule("two numbers above 0: [0.04, 0.07]", lambda v: len(v) == 2 and all(x > 0 for x in v))
]
"""Two numbers above 0."""
