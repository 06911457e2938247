"""What stands in ``--help``: each setting with its type, choices, range, default and meaning."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Ge, Gt, Le, Lt

from clsp.settings.identity import default_of
from clsp.settings.values import options_of

_WIDTH = 108


@dataclass(frozen=True)
class Option:
    """A setting as a person sees it."""

    name: str
    kind: str
    """Type, choices or range: ``a number above 0``."""
    default: Any
    meaning: str
    section: str
    """What its class says of itself, in one line."""

    def lines(self) -> list[str]:
        """Lay it out: the name with its default, and what it means below."""
        text = f"{self.meaning} ({self.kind})" if self.kind else self.meaning
        indent = " " * 6
        return [
            f"  --{self.name} {as_text(self.default)}".rstrip(),
            *textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent),
        ]


def describe(config: type) -> Iterator[Option]:
    """Describe every setting of a class and its sections."""
    for name, owner, item in options_of(config):
        hint = get_type_hints(owner, include_extras=True)[item.name]
        yield Option(name, words(hint), default_of(item), _meaning(owner, item.name), (owner.__doc__ or "").strip())


def as_text(value: Any) -> str:
    """Write a value as one would type it."""
    if isinstance(value, (str, PurePath)):
        return str(value) or "''"
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()


def words(hint: Any) -> str:
    """Say in words what a type allows."""
    marks: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *found = get_args(hint)
        marks = tuple(found)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        parts = [words(part) for part in get_args(hint) if part is not type(None)]
        return " or ".join([*parts, *(["null"] if type(None) in get_args(hint) else [])])
    if origin is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if origin is list:
        inner = words(get_args(hint)[0]).replace("a whole number", "whole numbers").replace("a number", "numbers")
        return _rule(marks) or f"a list of {inner}"
    names = {int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping", str: "text"}
    return " ".join([names.get(origin or hint, ""), *_bounds(marks)]).strip()


def _bounds(marks: tuple[Any, ...]) -> Iterator[str]:
    """Say the range: ``from 0 to 1``, ``above 0``, ``of at least 2``."""
    found = {type(mark): mark for mark in marks}
    if Ge in found and Le in found:
        yield f"from {found[Ge].ge:g} to {found[Le].le:g}"
        return
    shown = {Gt: ("above", "gt"), Ge: ("of at least", "ge"), Lt: ("below", "lt"), Le: ("of at most", "le")}
    words = [f"{word} {getattr(found[kind], value):g}" for kind, (word, value) in shown.items() if kind in found]
    if words:
        yield " and ".join(words)


def _rule(marks: tuple[Any, ...]) -> str:
    """The words of a check that was made by `clsp.settings.types.rule`."""
    return next((mark.func.words for mark in marks if hasattr(getattr(mark, "func", None), "words")), "")


def _meaning(owner: type, name: str) -> str:
    """The string below a field, of the class or of the one that it extends."""
    for base in owner.__mro__:
        field = vars(base).get("__pydantic_fields__", {}).get(name)
        if field is not None and field.description:
            return " ".join(field.description.split())
    return ""
