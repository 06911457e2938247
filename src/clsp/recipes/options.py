"""Options: a recipe from defaults, a YAML file and the command line; errors in one line with the fix."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from clsp.errors import UserError, suggest
from clsp.methods.config import NAMES
from clsp.positives.config import SOURCES
from clsp.recipes.recipe import Recipe, flatten, read_recipe
from clsp.training.config import OBJECTIVES, PretrainConfig


def parse_recipe(name: str | None, overrides: Sequence[str], sized: Mapping[str, Any] | None = None) -> Recipe:
    """Build a recipe: defaults < the recipe's file < what the data's size asks for < ``overrides``.

    In the file, what ``per_method`` says of a method goes before the section ``pretrain``.

    Args:
        name: a built-in recipe or a YAML file; None: the defaults.
        overrides: ``--pretrain.lr 0.1`` or ``--pretrain.lr=0.1``, as on the command line.
        sized: dotted values from `clsp.recipes.sizing`.

    Raises:
        UserError: an unknown name (the right one is suggested) or a value of the wrong type.
    """
    known = known_options()
    values = flatten(read_recipe(name), known) if name else {}
    _require_known(values, known, f"--recipe {name}: ")
    values |= sized or {}
    arguments = [f"--{key}={_text(value)}" for key, value in values.items()]
    recipe = _parse([*arguments, *overrides])
    given = {option[2:].partition("=")[0] for option in overrides if option.startswith("--")}
    return _for_its_method(recipe, given | set(sized or {}))


def _for_its_method(recipe: Recipe, given: set[str]) -> Recipe:
    """Check ``per_method``, leave out of it what was ``given`` for all methods, and apply the chosen method's part.

    What it says of a method with a source of positives is left to `Recipe.pretraining`: a recipe may train several.
    The values that this replaces are noted for the other methods: `Recipe.pretraining` is right for every method
    afterwards, and a resolved recipe that is read again stays the same.
    """
    if not recipe.per_method:
        return recipe
    parser = _parser(PretrainConfig, "pretrain")
    own = {arm: _checked(parser, arm, values) for arm, values in recipe.per_method.items()}
    if "per_method" not in given:
        own = {
            arm: {name: value for name, value in values.items() if f"pretrain.{name}" not in given}
            for arm, values in own.items()
        }
    before = flat_options(recipe)
    replaced = {name: before[f"pretrain.{name}"] for name in own.get(recipe.pretrain.method, {})}
    if replaced:
        own |= {method: replaced | own.get(method, {}) for method in NAMES}
    recipe = replace(recipe, per_method=own)
    return replace(recipe, pretrain=recipe.pretraining(recipe.pretrain.method))


def _checked(parser: Any, arm: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``per_method`` says of ``arm``, METHOD[+SOURCE[+OBJECTIVE]], by dotted names, of the right types."""
    where = f"per_method {arm}: "
    for word, allowed in zip(arm.split("+", 2), (NAMES, SOURCES, OBJECTIVES), strict=False):
        if word not in allowed:
            raise UserError(f"per_method: '{word}' is not one of {', '.join(allowed)}{suggest(word, allowed)}")
    known = {name.removeprefix("pretrain."): None for name in known_options() if name.startswith("pretrain.")}
    flat = flatten(values, known)
    for name in flat:
        if name not in known or name == "method":
            raise UserError(f"{where}'{name}' is no option of the section pretrain{suggest(name, known)}")
    try:
        arguments = [f"--pretrain.{name}={_text(value)}" for name, value in flat.items()]
        parsed = flat_options(_instantiate(parser, arguments).pretrain)
    except UserError as error:
        raise UserError(f"{where}{error}") from error
    return {name: parsed[name] for name in flat}


def known_options() -> dict[str, Any]:
    """All dotted names of a recipe with their defaults."""
    return flat_options(Recipe())


def flat_options(config: Any) -> dict[str, Any]:
    """All values of a recipe, or of a section, by their dotted names."""
    flat: dict[str, Any] = {}

    def visit(value: Any, prefix: str) -> None:
        for item in fields(value):
            inner = getattr(value, item.name)
            if hasattr(inner, "__dataclass_fields__"):
                visit(inner, f"{prefix}{item.name}.")
            else:
                flat[f"{prefix}{item.name}"] = inner

    visit(config, "")
    return flat


def expand(arguments: Sequence[str], section: str | None) -> list[str]:
    """Write options out in full: ``--interpolation-weight 0.1`` of ``synthesize`` is one of its section.

    Raises:
        UserError: an option that no recipe has; the nearest one is suggested.
    """
    known = known_options()
    expanded: list[str] = []
    for argument in arguments:
        if not argument.startswith("--"):
            expanded.append(argument)
            continue
        name, equals, value = argument[2:].partition("=")
        name = name.replace("-", "_")
        if section and f"{section}.{name}" in known:
            name = f"{section}.{name}"
        _require_known({name: None}, known, "", section)
        expanded.append(f"--{name}{equals}{value}")
    return _with_bare_flags(expanded)


def _with_bare_flags(arguments: list[str]) -> list[str]:
    """``--controls`` alone means ``--controls true``."""
    flags = {f"--{name}" for name, value in known_options().items() if isinstance(value, bool)}
    filled: list[str] = []
    for place, argument in enumerate(arguments):
        following = arguments[place + 1] if place + 1 < len(arguments) else "--"
        filled.append(f"{argument}=true" if argument in flags and following.startswith("--") else argument)
    return filled


def _require_known(values: Mapping[str, Any], known: Mapping[str, Any], where: str, section: str | None = None) -> None:
    for name in values:
        if name not in known:
            hint = _nearest(name, known, section).replace("'", "'--", 1)
            raise UserError(f"{where}unknown option --{name}{hint} (clsp COMMAND --help lists all)")


def _nearest(name: str, known: Mapping[str, Any], section: str | None) -> str:
    """Suggest an option: by its whole name, else by its last part, those of the command's own section first."""
    whole = suggest(name, known)
    if whole:
        return whole
    ordered = sorted(known, key=lambda option: not option.startswith(f"{section}."))
    by_last: dict[str, str] = {}
    for option in ordered:
        by_last.setdefault(option.split(".")[-1], option)
    near = get_close_matches(name.split(".")[-1], by_last, n=1)
    return f"; did you mean '{by_last[near[0]]}'?" if near else ""


def _text(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)


def _parser(config: type, name: str | None = None) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="clsp", exit_on_error=False)
    parser.add_class_arguments(config, name)
    return parser


def _parse(arguments: list[str]) -> Recipe:
    made = _instantiate(_parser(Recipe), arguments)
    return Recipe(**{item.name: getattr(made, item.name) for item in fields(Recipe)})


def _instantiate(parser: Any, arguments: list[str]) -> Any:
    from argparse import ArgumentError

    try:
        return parser.instantiate(parser.parse_args(arguments))
    except ArgumentError as error:
        raise UserError(_one_line(str(error))) from error


def _one_line(message: str) -> str:
    """Turn the parser's message into one line: the option, the value, what is allowed."""
    found = re.search(r'Parser key "([^"]+)":\s*(.*)', message, re.DOTALL)
    if not found:
        bare = re.fullmatch(r"argument (--\S+): expected one argument", message.strip())
        extra = re.fullmatch(r"unrecognized arguments: (.*)", message.strip())
        if extra:
            return f"unexpected argument '{extra.group(1)}'; an option takes one value, and lists are written '[1, 2]'"
        return f"{bare.group(1)} needs a value: {bare.group(1)} VALUE" if bare else " ".join(message.split())
    key, rest = found.group(1), " ".join(found.group(2).split())
    got = re.search(r"Got value: (.*)$", rest)
    value = got.group(1) if got else ""
    allowed = re.search(r"Literal\[([^\]]*)\]", rest)
    if allowed:
        choices = allowed.group(1).replace("'", "")
        return f"--{key} '{value}' is not one of {choices}{suggest(value, choices.split(', '))}"
    kind = re.search(r"<class '(\w+)'>", rest)
    mapping = "a mapping such as '{layers: [1, 1, 1, 1]}' (with a space after the colon)"
    names = {"float": "a number", "int": "a whole number", "bool": "true or false", "dict": mapping}
    wanted = names.get(kind.group(1), kind.group(1)) if kind else rest.split(". Got")[0]
    return f"--{key} '{value}' is not valid: expected {wanted}"


def help_of_options(section: str | None) -> str:
    """All dotted options with their defaults and meanings, the section of the command first, for ``--help``."""
    known, meanings = known_options(), _meanings()
    shown = [name for name in known if not name.startswith("about.")]
    lines = []
    for name in sorted(shown, key=lambda name: not name.startswith(f"{section}.")):
        value = _text(known[name]).replace('"', "")
        lines.append(f"  --{name} {value}".rstrip())
        lines += textwrap.wrap(meanings.get(name, ""), 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def _meanings() -> dict[str, str]:
    """What stands below each field of the config classes in their source: the one place where it is written."""
    found: dict[str, str] = {}

    def visit(config: Any, prefix: str) -> None:
        body = ast.parse(inspect.getsource(type(config))).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[f"{prefix}{ast.unparse(field.target)}"] = " ".join(str(text.value.value).split())
        for item in fields(config):
            inner = getattr(config, item.name)
            if hasattr(inner, "__dataclass_fields__"):
                visit(inner, f"{prefix}{item.name}.")

    visit(Recipe(), "")
    return found
