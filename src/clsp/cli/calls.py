"""The commands by name, and what a user's arguments mean for them. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    flags: tuple[str, ...] = ()
    """Those of the optional ones that take no value."""
    recipe: bool = field(default=True)
    """Whether it takes the options of a recipe."""
    task: str | None = None
    """The task whose recipe that is; None: a run's."""

    @property
    def settings(self) -> type:
        """The class of the recipe's settings."""
        if self.task is None:
            from clsp.recipes.recipe import Recipe

            return Recipe
        from importlib import import_module

        found: type = import_module(f"clsp.tasks.{self.task}.config").RECIPE
        return found


COMMANDS = {
    "run": Command(
        summary="all stages: images in, an encoder, its numbers and a report out; again: what is missing",
        function="run",
        required=("data", "out"),
        optional=("hours", "recipe", "diffusion", "method"),
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
        summary="train an encoder; --positives BANK adds the candidates; --weights timm|FOLDER|FILE starts from them",
        function="pretrain",
        required=("data", "out"),
        optional=("recipe", "positives"),
        section="pretrain",
    ),
    "continue": Command(
        summary="train on: a new training from all that another one had learnt, by its recipe, data and positives",
        function="continue_training",
        required=("out",),
        optional=("data", "positives"),
        section="pretrain",
        positional="RUN",
    ),
    "evaluate": Command(
        summary="linear probe, kNN, retrieval and few labels of an encoder (transfer: another --data)",
        function="evaluate",
        required=("encoder", "data"),
        optional=("recipe", "out"),
        section="evaluate",
    ),
    "embed": Command(
        summary="embeddings with name, part and label of each image, as .parquet, .npz or .csv",
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
    "classify": Command(
        summary="a classifier from labels of which some may be wrong, and the list of those",
        function="classify",
        required=("data", "out"),
        optional=("encoder", "positives", "recipe"),
        section="classify",
        task="classify",
    ),
    "predict": Command(
        summary="the class of every image and how sure it is, as .csv, by what 'clsp classify' made",
        function="predict",
        required=("classifier", "data", "out"),
        recipe=False,
    ),
    "index": Command(
        summary="a short code of every image, to search by: an encoder and its quantiser, trained together",
        function="index",
        required=("encoder", "data", "out"),
        optional=("positives", "recipe"),
        section="index",
        task="retrieval",
    ),
    "search": Command(
        summary="the images of an index that are most like one, with their scores",
        function="search",
        required=("index", "query"),
        optional=("k", "html"),
        recipe=False,
    ),
    "dense": Command(
        summary="an encoder whose feature map tells which place of an image is which of another, beside other features",
        function="dense",
        required=("data", "out"),
        optional=("encoder", "positives", "diffusion", "pairs", "recipe"),
        section="dense",
        task="correspondence",
    ),
    "correspond": Command(
        summary="draw which points of one image are which points of another",
        function="correspond",
        required=("encoder", "out"),
        optional=("layer",),
        positional="A.png B.png",
        recipe=False,
    ),
    "text": Command(
        summary="an image and a text encoder side by side, from images with captions",
        function="text",
        required=("data", "out"),
        optional=("encoder", "positives", "recipe"),
        section="text",
        task="text",
    ),
    "zeroshot": Command(
        summary="the class of every image by the names of classes alone, as .csv, by what 'clsp text' made",
        function="zeroshot",
        required=("model", "data", "classes", "out"),
        recipe=False,
    ),
    "report": Command(
        summary="one self-contained HTML page of one or more runs",
        function="report",
        optional=("out",),
        positional="RUN",
        recipe=False,
    ),
    "verify": Command(
        summary="compare the files of a run with the hashes they were made with; --repair makes damaged ones again",
        function="verify",
        optional=("repair",),
        flags=("repair",),
        positional="PATH",
        recipe=False,
    ),
    "check": Command(
        summary="what would run, what is wrong, how much time, memory and disk it takes, here or on a GPU by name",
        function="check",
        optional=("data", "hours", "recipe", "method", "gpu"),
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
    "classifier": "DIR",
    "index": "DIR",
    "query": "IMAGE",
    "k": "N",
    "html": "FILE",
    "model": "DIR",
    "classes": "NAME,NAME,...",
    "pairs": "DIR",
    "layer": "N",
    "methods": "ARM,ARM,...",
    "seeds": "N",
    "baseline": "ARM",
    "gpu": "NAME",
    "hours": "TIME",
    "between": "LOW,HIGH",
    "repair": "",
}


MEANINGS = {
    "data": "images: a folder, an .npz or .npy file, hf:NAME, or a data set's name: digits, fashion-mnist, ...",
    "out": "where the result goes",
    "recipe": "a built-in recipe or a YAML file; the options below go before it",
    "diffusion": "a diffusers folder or a hub id, in place of training a diffusion model",
    "method": "the method, as --pretrain.method",
    "positives": "a bank's folder, the name of a source (view, nearest, ...), or NAME:BANK",
    "encoder": "an encoder's folder, or a run",
    "classifier": "the folder of a classifier",
    "index": "the folder of an index",
    "query": "an image file",
    "k": "results (10)",
    "html": "a page with their pictures",
    "model": "the folder of an image and a text encoder",
    "classes": "names of classes, of any kind",
    "pairs": "a benchmark of key points: the folder of SPair-71k, PF-PASCAL or PF-WILLOW",
    "layer": "the backbone's stage that is matched, from the end (-2)",
    "methods": "the arms: METHOD[+SOURCE[+OBJECTIVE or PLACEMENT]], as simclr,nnclr,simclr+bank+nt_xent",
    "seeds": "runs an arm (5)",
    "baseline": "the arm that the others are compared with (the first)",
    "gpu": "a GPU that the run is planned for: a100-40gb, h100, rtx-4090, ...",
    "hours": "time that the run may take, for the recipe folder: 1, 0.5 or 15m (an hour on a CPU, two on a GPU)",
    "between": "smallest and largest cosine of a pair (0.97,0.99)",
    "repair": "make again what is damaged or missing, the same bytes, and leave the rest as it is",
}


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
            own[option] = "true"
            continue
        given = value if equals else queue.pop(0) if queue and _is_value(queue[0]) else None
        if option in command.required + command.optional:
            if given is None:
                raise UserError(f"--{option} needs a value: --{option} {METAVARS[option]}")
            own[option] = given
        else:
            rest[option] = given
    return own, rest, positional


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
    if positional and not command.positional:
        raise UserError(
            f"unexpected argument '{positional[0]}'; options begin with --, take one value, and lists are written "
            f"'[1, 2]' (clsp {name} --help)"
        )
    if command.positional and not positional:
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
        known = ", ".join(f"--{option}" for option in command.required + command.optional)
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
