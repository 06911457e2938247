"""The commands by name, and what a user's arguments mean for them. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from clsp.errors import UserError, suggest


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of ``clsp``."""

    summary: str
    function: str
    """Name of the function in `clsp.cli.commands`."""
    required: tuple[str, ...] = ()
    """Options that must be given."""
    optional: tuple[str, ...] = ()
    """Further options of its own."""
    section: str | None = None
    """The recipe's section whose options it takes without a prefix; None: no recipe."""
    positional: str | None = None
    """Name of the positional arguments it takes."""
    recipe: bool = field(default=True)
    """Whether it takes the options of a recipe."""


COMMANDS = {
    "run": Command(
        summary="all stages: images in, an encoder, its numbers and a report out; again: what is missing",
        function="run",
        required=("data", "out"),
        optional=("recipe", "diffusion", "method"),
    ),
    "diffusion": Command(
        summary="train the unconditional diffusion model",
        function="diffusion",
        required=("data", "out"),
        optional=("recipe",),
        section="diffusion",
    ),
    "synthesize": Command(
        summary="draw the bank of synthetic positives",
        function="synthesize",
        required=("data", "diffusion", "out"),
        optional=("recipe",),
        section="synthesize",
    ),
    "pretrain": Command(
        summary="train an encoder; --positives BANK adds the candidates, --positives view a third view",
        function="pretrain",
        required=("data", "out"),
        optional=("recipe", "positives"),
        section="pretrain",
    ),
    "evaluate": Command(
        summary="linear probe, kNN, retrieval and few labels of an encoder (transfer: another --data)",
        function="evaluate",
        required=("encoder", "data"),
        optional=("recipe", "out"),
        section="evaluate",
    ),
    "embed": Command(
        summary="embeddings with their file names, as .npz or .csv",
        function="embed",
        required=("encoder", "data", "out"),
        optional=("recipe",),
        section="images",
    ),
    "pairs": Command(
        summary="pairs of images that an encoder finds alike, as .csv, for --positives pairs",
        function="pairs",
        required=("encoder", "data", "out"),
        optional=("recipe", "between"),
        section="images",
    ),
    "export": Command(
        summary="safetensors that plain timm loads, and ONNX",
        function="export",
        required=("encoder", "out"),
        recipe=False,
    ),
    "compare": Command(
        summary="a resumable grid of arms and seeds; one table: mean, 95 % interval, paired differences, cost",
        function="compare",
        required=("data", "out", "methods"),
        optional=("recipe", "seeds", "baseline", "positives"),
    ),
    "report": Command(
        summary="one self-contained HTML page of one or more runs",
        function="report",
        optional=("out",),
        positional="RUN",
        recipe=False,
    ),
    "check": Command(
        summary="what would run, what is wrong, how much time, memory and disk it takes, here or on a GPU by name",
        function="check",
        optional=("data", "recipe", "method", "gpu"),
    ),
}

METAVARS = {
    "data": "SOURCE",
    "out": "OUT",
    "recipe": "NAME|FILE",
    "diffusion": "DIR|HUB_ID",
    "method": "NAME",
    "positives": "BANK|view|NAME:BANK",
    "encoder": "DIR",
    "methods": "ARM,ARM,...",
    "seeds": "N",
    "baseline": "ARM",
    "gpu": "NAME",
    "between": "LOW,HIGH",
}


@dataclass(frozen=True)
class Call:
    """A command with its arguments."""

    command: Command
    own: dict[str, str]
    """The command's own options."""
    positional: list[str]
    overrides: list[str]
    """Options of the recipe, written out in full."""


def parse_call(name: str, arguments: Sequence[str]) -> Call:
    """Part the arguments into the command's own and the recipe's.

    Raises:
        UserError: an option is unknown, lacks its value, or is missing.
    """
    command = COMMANDS[name]
    own: dict[str, str] = {}
    positional: list[str] = []
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        option, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and option in command.required + command.optional:
            if not equals:
                if not queue or queue[0].startswith("--"):
                    raise UserError(f"--{option} needs a value: --{option} {METAVARS[option]}")
                value = queue.pop(0)
            own[option] = value
        elif argument.startswith("-") and not _is_number(argument):
            rest.append(argument)
            while queue and (not queue[0].startswith("-") or _is_number(queue[0])):
                rest.append(queue.pop(0))
        else:
            positional.append(argument)
    mistyped = _nearest_own(command, rest)
    if mistyped:
        raise UserError(mistyped)
    overrides = _expanded(name, command, rest)
    _require(name, command, own, positional)
    return Call(command, own, positional, overrides)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _require(name: str, command: Command, own: dict[str, str], positional: list[str]) -> None:
    for option in command.required:
        if option not in own:
            raise UserError(f"clsp {name} needs --{option} {METAVARS[option]} (clsp {name} --help)")
    if positional and not command.positional:
        raise UserError(f"unexpected argument '{positional[0]}'; options begin with -- (clsp {name} --help)")
    if command.positional and not positional:
        raise UserError(f"clsp {name} needs {command.positional}: clsp {name} {command.positional}")


def _nearest_own(command: Command, rest: list[str]) -> str | None:
    """Spot a mistyped option of the command itself, such as --dat."""
    from clsp.recipes.options import known_options

    known = known_options()
    for argument in rest:
        option = argument.removeprefix("--").partition("=")[0].replace("-", "_")
        if (
            not argument.startswith("--")
            or option in known
            or (command.section and f"{command.section}.{option}" in known)
        ):
            continue
        near = suggest(option, command.required + command.optional)
        if near:
            return f"unknown option --{option}{near.replace(chr(39), chr(39) + '--', 1)}"
    return None


def _expanded(name: str, command: Command, rest: list[str]) -> list[str]:
    from clsp.recipes.options import expand

    if rest and not command.recipe:
        raise UserError(
            f"unknown option {rest[0]}; clsp {name} takes "
            + ", ".join(f"--{option}" for option in command.required + command.optional)
        )
    return expand(rest, command.section)
