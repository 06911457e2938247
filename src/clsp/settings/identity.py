"""What identifies the result of a stage: the settings that decide it, a property of each where it is declared."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from clsp.settings.types import Incidental


def identity(config: Any, *, usual: bool = False) -> dict[str, Any]:
    """Return the settings of ``config`` that decide what is made with them, nested, as plain values.

    Settings marked `Incidental` are left out, and so are those that the method ``unused`` of their class names: what
    belongs to other choices than the one that was made.

    Args:
        config: settings.
        usual: return the default of each in place of its value: what it was for a version that did not know it yet.
    """
    unused = config.unused() if hasattr(config, "unused") else set()
    found: dict[str, Any] = {}
    for item in fields(config):
        if item.name not in unused and not is_incidental(type(config), item.name):
            value = getattr(config, item.name)
            inner = is_dataclass(value)
            found[item.name] = identity(value, usual=usual) if inner else default_of(item) if usual else value
    return found


def reads(config: Any, name: str) -> bool:
    """Return whether the setting with the dotted ``name`` belongs to what ``config`` chose."""
    first, _, rest = name.partition(".")
    if hasattr(config, "unused") and first in config.unused():
        return False
    inner = getattr(config, first)
    return not is_dataclass(inner) or not rest or reads(inner, rest)


def default_of(item: Any) -> Any:
    """Return the default of a field; pydantic keeps it in its own description of the field."""
    default = item.default
    if hasattr(default, "get_default"):
        default = default.get_default(call_default_factory=True)
    if default is MISSING:
        default = item.default_factory() if item.default_factory is not MISSING else None
    return default


def is_incidental(config: type, name: str) -> bool:
    """Return whether the setting ``name`` of a class changes nothing in what is made."""
    hint = _hints(config)[name]
    return get_origin(hint) is Annotated and Incidental in get_args(hint)[1:]


@cache
def _hints(config: type) -> dict[str, Any]:
    return get_type_hints(config, include_extras=True)
