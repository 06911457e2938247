"""Members of a kind by name: every module of a folder that defines one, and what other packages offer by entry points.

A new method, source, objective or evaluator is one file in the kind's folder. In another package it is a class that an
entry point names, in the group that is called like the folder:

    [project.entry-points."clsp.methods"]
    mine = "my_package.mine:Mine"
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from clsp.errors import UserError, suggest

Member = TypeVar("Member")


class Registry(Generic[Member]):
    """The members of a kind; all are imported when the first one is asked for.

    Args:
        kind: what a member is called in messages: ``method``.
        package: the folder of the members, ``clsp.methods``, and the group of the entry points.
        base: the class that they extend, ``clsp.methods.base:Method``.
    """

    def __init__(self, kind: str, package: str, base: str) -> None:
        self.kind, self.package, self._base = kind, package, base

    @cached_property
    def _members(self) -> dict[str, type[Member]]:
        module, _, name = self._base.partition(":")
        base = getattr(importlib.import_module(module), name)
        members = _built_in(self.package, base)
        _add_offered(members, self.kind, self.package, base)
        return members

    def names(self) -> tuple[str, ...]:
        """The names of all members, those of this package first."""
        return tuple(self._members)

    def items(self) -> Iterable[tuple[str, type[Member]]]:
        """All members with their names."""
        return self._members.items()

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> type[Member]:
        """Return the member called ``name``.

        Raises:
            UserError: there is none; the nearest name is suggested.
        """
        self._require(name, self.names())
        return self._members[name]

    def require(self, name: str) -> None:
        """Refuse a name that none of the members can have, without importing them.

        Raises:
            UserError: the nearest one is suggested.
        """
        files = (
            entry.name.rstrip("_") for entry in pkgutil.iter_modules(importlib.import_module(self.package).__path__)
        )
        known = [
            *(file for file in files if file != "base"),
            *(entry.name for entry in entry_points(group=self.package)),
        ]
        self._require(name, known)

    def _require(self, name: str, known: Sequence[str]) -> None:
        if name not in known:
            raise UserError(f"{self.kind} '{name}' is not one of {', '.join(known)}{suggest(name, known)}")


def _built_in(package: str, base: type) -> dict[str, Any]:
    """Find the class of each module in a folder of this package; ``class_`` is called class."""
    folder = importlib.import_module(package)
    found = {}
    for entry in pkgutil.iter_modules(folder.__path__):
        module = importlib.import_module(f"{package}.{entry.name}")
        for value in vars(module).values():
            if inspect.isclass(value) and value.__module__ == module.__name__ and _is_member(value, base):
                found[entry.name.rstrip("_")] = value
    return found


def _is_member(value: type, base: type) -> bool:
    return issubclass(value, base) and value is not base and not inspect.isabstract(value)


def _add_offered(members: dict[str, Any], kind: str, group: str, base: type) -> None:
    """Load what installed packages offer, and add it to ``members``.

    Raises:
        UserError: a package offers what cannot be loaded, what is no such member, or a name that is taken.
    """
    for entry in entry_points(group=group):
        if entry.name in members:
            raise UserError(f"{kind} '{entry.name}' of {entry.value}: there is one of this name already; rename it")
        try:
            member = entry.load()
        except Exception as error:  # whatever a stranger's module does when it is imported
            raise UserError(f"{kind} '{entry.name}' of {entry.value} cannot be loaded: {error!r}") from error
        if not (inspect.isclass(member) and issubclass(member, base)):
            raise UserError(f"{kind} '{entry.name}': {entry.value} is no {base.__module__}.{base.__name__}")
        members[entry.name] = member
