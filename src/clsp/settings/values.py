"""Settings from nested mappings: YAML, the command line and Python are merged as such, and become typed values once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from difflib import get_close_matches
from functools import cache, partial
from typing import Any, TypeVar, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from clsp.errors import UserError, suggest
from clsp.settings.messages import explain

Config = TypeVar("Config")
Tree = dict[str, Any]


def merge(config: type, *trees: Mapping[str, Any]) -> Tree:
    """Merge nested settings of the class ``config``; of two values of a setting the later one holds."""
    return nested({name: value for tree in trees for name, value in flat(tree, config).items()})


def nested(flat: Mapping[str, Any]) -> Tree:
    """Turn dotted names into nested mappings."""
    tree: Tree = {}
    for name, value in flat.items():
        *sections, last = name.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return tree


def flat(values: Mapping[str, Any], config: type, prefix: str = "") -> Tree:
    """Turn nested sections of ``config`` into dotted names; a mapping that is itself a value stays whole."""
    sections = sections_of(config)
    found: Tree = {}
    for key, value in values.items():
        if key in sections and isinstance(value, Mapping):
            found |= flat(value, sections[key], f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def options_of(config: type, prefix: str = "") -> Iterator[tuple[str, type, Any]]:
    """Yield the dotted name of every setting of ``config``, the class it stands in, and its field."""
    sections = sections_of(config)
    for item in fields(config):
        if item.name in sections:
            yield from options_of(sections[item.name], f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", config, item


@cache
def sections_of(config: type) -> dict[str, type]:
    """Return the classes of the settings that are sections of ``config``, by their names."""
    hints = get_type_hints(config)
    return {item.name: hints[item.name] for item in fields(config) if is_dataclass(hints[item.name])}


def plain(config: Any) -> Tree:
    """Return all values of a settings object as nested mappings."""
    return asdict(config)


def build(config: type[Config], values: Mapping[str, Any], prefix: str = "") -> Config:
    """Make settings of the class ``config`` from nested ``values``; what they leave out has its default.

    A value may be text, as a command line has it: ``"0.1"``, ``"[1, 2]"``, ``"{layers: [1, 1]}"``.

    Args:
        config: a class made by `clsp.settings.settings`.
        values: nested mappings.
        prefix: of the names in messages, such as ``pretrain.``.

    Raises:
        UserError: a name that is not there, with the nearest one, or a value out of its range: one line each.
    """
    known = {name: (owner, item) for name, owner, item in options_of(config)}
    given = flat(values, config)
    for name in given:
        if name not in known:
            raise UserError(f"unknown option --{prefix}{name}{nearest(name, known, prefix)}")
    read = {name: _read(value, *known[name]) for name, value in given.items()}
    try:
        made: Config = TypeAdapter(config).validate_python(nested(read))
    except ValidationError as error:
        raise UserError(explain(error, prefix)) from error
    return made


def nearest(name: str, known: Iterable[str], prefix: str = "", *, first: str | None = None) -> str:
    """Suggest an option by its whole name, else by its last part, those of the section ``first`` before the others."""
    known = sorted(known, key=lambda option: not option.startswith(f"{first}."))
    if near := suggest(name, known):
        return near.replace("'", f"'--{prefix}", 1)
    last: dict[str, str] = {}
    for option in known:
        last.setdefault(option.rpartition(".")[2], option)
    found = get_close_matches(name.rpartition(".")[2], last, n=1)
    return f"; did you mean '--{prefix}{last[found[0]]}'?" if found else ""


def _read(value: Any, owner: type, item: Any) -> Any:
    """Return a value that came as text as its setting wants it: as text where that is allowed, else read as YAML.

    YAML reads ``precision: 32`` as a number; where only its text is allowed, that is meant. A truth value is no number:
    where one is wanted, it becomes text again, which is then refused.
    """
    fits = partial(_fits, _adapter(owner, item.name))
    strictly = partial(fits, strict=True)
    if type(value) in (int, float):
        return str(value) if not fits(value) and fits(str(value)) else value
    if _has_truths(value):
        return _in_words(value) if fits(value) and not strictly(value) else value
    if not isinstance(value, str) or value == "null":
        return None if value == "null" else value
    if fits(value):
        return value
    try:
        read = _Loader(value).get_single_data()
    except Exception:  # PyYAML raises nearly anything: ValueError of 2024-13-45, IndexError of '!!int'
        return value
    if _has_truths(read) and fits(read) and not strictly(read):
        return value if isinstance(read, bool) else _in_words(read)
    return value if _lacks_space(read) else read


class _Loader(yaml.SafeLoader):
    """YAML without numbers to the base of 60: nobody who writes ``1:30`` means 90."""

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        if ":" in node.value:
            return node.value
        return self.construct_yaml_int(node) if node.tag.endswith(":int") else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def _has_truths(read: Any) -> bool:
    """Whether a value is true or false, or a list with such entries."""
    return isinstance(read, bool) or (isinstance(read, list) and any(map(_has_truths, read)))


def _in_words(read: Any) -> Any:
    """The same with truth values as words."""
    if isinstance(read, list):
        return [_in_words(entry) for entry in read]
    return str(read).lower() if isinstance(read, bool) else read


def _fits(adapter: TypeAdapter[Any], value: Any, *, strict: bool | None = None) -> bool:
    try:
        adapter.validate_python(value, strict=strict)
    except ValidationError:
        return False
    return True


def _lacks_space(read: Any) -> bool:
    """Whether YAML took ``{depth:2}`` for a mapping of ``depth:2`` to nothing."""
    return isinstance(read, dict) and any(value is None and ":" in str(key) for key, value in read.items())


@cache
def _adapter(owner: type, name: str) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(owner, include_extras=True)[name])
