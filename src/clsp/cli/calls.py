"""What a user's arguments mean for a command. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clsp.cli.table import COMMANDS, METAVARS, Command
from clsp.errors import UserError, suggest
from clsp.text import is_whole


@dataclass(frozen=True)
class Call:
    """A command with its arguments."""

    command: Command
    own: dict[str, str]
    """The command's own options."""
    positional: list[str]
    overrides: dict[str, Any]
    """Settings of the recipe, nested; the values are text."""


def parse_call(name: str, arguments: Sequence[str]) -> Call:
    """Part the arguments into the command's own and the recipe's.

    Raises:
        UserError: an option is unknown, lacks its value, or is missing.
    """
    command = COMMANDS[name]
    own, rest, positional = _parted(command, list(arguments))
    _require(name, command, own, rest, positional)
    check_names(own, command.task)
    overrides = _settings(name, command, rest) if rest else {}
    if "method" in own and command.recipe:
        overrides.setdefault("pretrain", {})["method"] = own["method"]
    return Call(command, own, positional, overrides)


def _parted(command: Command, queue: list[str]) -> tuple[dict[str, str], dict[str, str | None], list[str]]:
    """Part arguments into options of the command, all other options, and what is no option."""
    own: dict[str, str] = {}
    rest: dict[str, str | None] = {}
    positional: list[str] = []
    while queue:
        argument = queue.pop(0)
        if not argument.startswith("-") or _is_number(argument):
            positional.append(argument)
            continue
        option, equals, value = argument.lstrip("-").partition("=")
        if option in command.flags:
            own |= _switched(option, value if equals else "true")
            continue
        given = value if equals else queue.pop(0) if queue and _is_value(queue[0]) else None
        if option in command.required + command.optional:
            if given is None:
                raise UserError(f"--{option} needs a value: --{option} {METAVARS[option]}")
            own[option] = given
        else:
            rest[option] = given
    return own, rest, positional


def _switched(option: str, value: str) -> dict[str, str]:
    """Read an option that needs no value: ``--repair`` and ``--repair=true`` set it, ``--repair=false`` does not."""
    if value not in ("true", "false"):
        raise UserError(f"--{option}='{value}' must be true or false, or stand without a value: --{option}")
    return {option: value} if value == "true" else {}


def _is_value(text: str) -> bool:
    return not text.startswith("-") or _is_number(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _require(name: str, command: Command, own: Mapping[str, str], rest: Iterable[str], positional: list[str]) -> None:
    for option in command.required:
        if option not in own:
            if typo := next((given for given in rest if suggest(given, [option])), None):
                raise UserError(f"unknown option --{typo}; did you mean '--{option}'? (clsp {name} --help lists all)")
            raise UserError(f"clsp {name} needs --{option} {METAVARS[option]} (clsp {name} --help)")
    if "" in positional and command.positional:
        raise UserError(f"{command.positional} '' names nothing; give one: clsp {name} {command.positional}")
    if positional and not command.positional:
        raise UserError(
            f"unexpected argument '{positional[0]}'; options begin with --, take one value, and lists are written "
            f"'[1, 2]' (clsp {name} --help)"
        )
    if command.positional and not positional and command.instead not in own:
        raise UserError(f"clsp {name} needs {command.positional}: clsp {name} {command.positional}")


def check_names(own: Mapping[str, str], task: str | None = None) -> None:
    """Refuse a mistyped method, recipe or source at once, before all that a command needs is imported.

    Raises:
        UserError: names what is allowed.
    """
    from clsp.images.catalogue import SHAPES
    from clsp.images.sources import check_source
    from clsp.recipes.names import recipe_path

    if own.get("out") == "":
        raise UserError("--out '' names no folder; give one, such as --out run")
    if empty := next((option for option, value in own.items() if not value), None):  # of a variable that is not set
        raise UserError(f"--{empty} '' names nothing; give --{empty} {METAVARS[empty]}")
    if not _is_text(own.get("out", "")):
        raise UserError(
            f"--out '{own['out']}' is not UTF-8, and some libraries cannot write to such a name; give a name in UTF-8"
        )
    if "recipe" in own:
        recipe_path(own["recipe"], task)
    if "data" in own and own["data"] not in SHAPES:
        check_source(own["data"])
    if "method" in own:
        from clsp.methods import METHODS

        METHODS.require(own["method"])


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _settings(name: str, command: Command, rest: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the recipe's settings that the options of a command name; ``--candidates`` is one of its section.

    Raises:
        UserError: an option that neither the command nor a recipe has; the nearest one is suggested.
    """
    if not command.recipe:
        known = ", ".join(f"--{option}" for option in command.required + command.optional) or "no options"
        raise UserError(f"unknown option --{next(iter(rest))}; clsp {name} takes {known}")
    from clsp.settings.values import nearest, nested, options_of

    known_options = {option: item.type for option, _, item in options_of(command.settings)}
    found: dict[str, str] = {}
    for given, value in rest.items():
        option = given.replace("-", "_")
        option = f"{command.section}.{option}" if f"{command.section}.{option}" in known_options else option
        if option not in known_options:
            near = suggest(option, command.required + command.optional).replace("'", "'--", 1)
            near = near or nearest(option, known_options, first=command.section)
            raise UserError(f"unknown option --{given}{near} (clsp {name} --help-all lists all)")
        if value is None and known_options[option] not in (bool, "bool"):
            raise UserError(f"--{given} needs a value: --{given} VALUE")
        found[option] = "true" if value is None else value
    return nested(found)


def whole_number(name: str, text: str) -> int:
    """Read the value of an option that counts something.

    Raises:
        UserError: it is no whole number of at least 1.
    """
    if not is_whole(text) or int(text) < 1:
        raise UserError(f"--{name} '{text}' must be a whole number of at least 1")
    return int(text)
