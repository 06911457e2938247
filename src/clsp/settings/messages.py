"""What was wrong with a value, in one line: the option, the value, what is allowed."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from clsp.errors import suggest

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list: [1, 2]",
    "dict": "a mapping such as '{layers: [1, 1, 1, 1]}' (with a space after the colon)",
    "path": "a path",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def explain(error: ValidationError, prefix: str = "") -> str:
    """Put the first fault of a validation into one line."""
    faults = error.errors(include_url=False)
    fault = faults[0]
    names = [str(part) for part in fault["loc"] if isinstance(part, str) and not _is_type(part)]
    name, value = ".".join(names), fault["input"]
    shown = f"--{prefix}{name} {_shown(value)}"
    if fault["type"] == "literal_error":
        choices = [choice.strip("' ") for choice in fault["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return f"{shown} is not one of {', '.join(choices)}{suggest(str(value), choices)}"
    return f"{shown} must be {allowed(fault)}"


def allowed(fault: Any) -> str:
    """Say what is allowed where pydantic found this fault."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{words} {context[bound]:g}"
    if kind == "too_short":
        return "a list of one or more numbers"
    if kind == "value_error":
        return str(context["error"])
    if kind == "finite_number":
        return "a finite number"
    return _KINDS.get(kind.split("_")[0], fault["msg"])


def _is_type(part: str) -> bool:
    """Whether a part of a fault's place is pydantic's word for an alternative of a type, and no setting's name."""
    return not part.isidentifier() or part in ("int", "float", "str", "bool", "none", "list", "dict")


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value)
    return f"'{text}'" if isinstance(value, str) else text
