"""Which command, with which arguments; how errors end. Nothing heavy is imported before a command is known."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from clsp._version import __version__
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
        summary="train an encoder; with --positives BANK also on the candidates, with --positives view on a third view",
        function="pretrain",
        required=("data", "out"),
        optional=("recipe", "positives"),
        section="pretrain",
    ),
    "evaluate": Command(
        summary="linear probe and kNN of an encoder (transfer: another --data)",
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
    "export": Command(
        summary="safetensors that plain timm loads, and ONNX",
        function="export",
        required=("encoder", "out"),
        recipe=False,
    ),
    "report": Command(
        summary="one self-contained HTML page of one or more runs",
        function="report",
        optional=("out",),
        positional="RUN",
        recipe=False,
    ),
    "check": Command(
        summary="what would run, what is wrong, how long it takes on this machine",
        function="check",
        required=("data",),
        optional=("recipe", "method"),
    ),
}

_METAVARS = {
    "data": "SOURCE",
    "out": "OUT",
    "recipe": "NAME|FILE",
    "diffusion": "DIR|HUB_ID",
    "method": "NAME",
    "positives": "BANK|view",
    "encoder": "DIR",
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


def dispatch(arguments: list[str]) -> int:
    """Run one command and turn its errors into one line and a status."""
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(overview())
            return 0
        if arguments[0] in ("-V", "--version"):
            print(f"clsp {__version__}")
            return 0
        name, rest = arguments[0], arguments[1:]
        if name not in COMMANDS:
            raise UserError(
                f"unknown command '{name}'; the commands are {', '.join(COMMANDS)}{suggest(name, COMMANDS)}"
            )
        if "-h" in rest or "--help" in rest:
            print(help_of(name))
            return 0
        return _guarded(name, parse_call(name, rest))
    except UserError as error:
        return _fail(str(error))


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
                    raise UserError(f"--{option} needs a value: --{option} {_METAVARS[option]}")
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
            raise UserError(f"clsp {name} needs --{option} {_METAVARS[option]} (clsp {name} --help)")
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


def _guarded(name: str, call: Call) -> int:
    """Run the command; what the user can mend ends with one line, Ctrl-C cleanly."""
    try:
        from clsp.cli import commands

        function: Callable[[Call], int] = getattr(commands, call.command.function)
        return function(call)
    except KeyboardInterrupt:
        print("clsp: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return _fail(
                f"no space left for {error.filename or 'the output'}: free some or choose another --out; "
                "what was finished is kept, and the same command goes on"
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EEXIST, errno.ENOTDIR):
            where = error.filename or "a file"
            return _fail(f"cannot read or write {where}: {os.strerror(error.errno)}; mend it, or choose another --out")
        raise


def _fail(message: str) -> int:
    print(f"clsp: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def overview() -> str:
    """The text of ``clsp --help``."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return (
        "clsp: self-supervised image pretraining with synthetic positives\n\n"
        "  clsp run --data FOLDER --out RUN      images in, an encoder and the evidence for it out\n"
        "  clsp run --data digits --out demo     the same on images that come with the package\n\n"
        "commands:\n" + "\n".join(lines) + "\n\n"
        "SOURCE is a folder of images, an .npz or .npy file, or a data set's name: digits, fashion-mnist, ...\n"
        "clsp COMMAND --help lists a command's options. Exit status: 0 done, 2 wrong input, 130 interrupted."
    )


def help_of(name: str) -> str:
    """The text of ``clsp NAME --help``."""
    command = COMMANDS[name]
    required = " ".join(f"--{option} {_METAVARS[option]}" for option in command.required)
    optional = " ".join(f"[--{option} {_METAVARS[option]}]" for option in command.optional)
    usage = " ".join(
        part
        for part in ("usage: clsp", name, command.positional and f"{command.positional} ...", required, optional)
        if part
    )
    text = f"{usage}\n\n{command.summary}\n"
    if not command.recipe:
        return text
    from clsp.recipes.options import help_of_options
    from clsp.recipes.recipe import recipe_names

    short = (
        f"Options of the section '{command.section}' may be given without their prefix.\n" if command.section else ""
    )
    return (
        f"{text}\nrecipes: {', '.join(recipe_names())},\n"
        "         or a YAML file; without --recipe the SOURCE's own, else folder\n\n"
        f"options of the recipe, with their defaults, which a recipe may change:\n{short}\n"
        f"{help_of_options(command.section)}"
    )
