"""What stands beside a result: the recipe with all its values, the command that repeats it, and what the data are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from clsp import console, distributed, files
from clsp.errors import UserError
from clsp.images.imageset import Images
from clsp.images.told import excluded_note
from clsp.provenance import machine, versions
from clsp.recipes.recipe import Recipe
from clsp.settings.describe import as_text
from clsp.settings.values import flat, plain
from clsp.study.ways import ways_from
from clsp.text import quoted


@dataclass(frozen=True)
class _Made:
    """What images.json says of the data, among other things."""

    source: str
    train: int
    fingerprint: str


_recorded: list[str] = []


@contextmanager
def recorded(command: str) -> Iterator[None]:
    """What is made in this block was made by ``command`` before, perhaps in another place: its record says so."""
    _recorded.append(command)
    try:
        yield
    finally:
        _recorded.pop()


class Recorded(Protocol):
    """What a result was made with."""

    @property
    def recipe(self) -> Any:
        """All settings, a dataclass."""

    @property
    def name(self) -> str:
        """The recipe's name or file."""

    @property
    def images(self) -> Images:
        """The data."""


def command_line(
    name: str,
    own: Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    positional: Sequence[str] = (),
    *,
    config: type = Recipe,
) -> str:
    """Write the command that does the same: of a call from Python, too.

    Args:
        name: the command.
        own: its own options; those that are None were not given.
        overrides: nested settings that were given.
        positional: what is no option.
        config: the class of the settings.
    """
    if _recorded:
        return _recorded[-1]
    given = {option: value for option, value in own.items() if value is not None}
    options = {**given, **flat(overrides or {}, config)}
    words = [word for option, value in options.items() for word in (f"--{option}", as_text(value))]
    return " ".join(quoted(word) for word in ("clsp", name, *positional, *words))


def describe(images: Images, listed: Path | None = None) -> None:
    """Say what the data are and what was decided of them, a line each.

    Args:
        images: the data.
        listed: the file that will list all that was left out; None: the one that does.
    """
    shape = f"{images.channels} x {images.size} x {images.size}"
    test = f", {len(images.test)} test images" if images.test is not None else ""
    labels = f", {len(images.classes)} classes" if images.classes else ", no labels"
    bare = 0 if images.train.labels is None else int((images.train.labels < 0).sum())
    labels += f" ({bare} train images without a label)" if bare else ""
    console.say(f"images: {len(images.train)} train images{test} of {shape}{labels} from {images.source}")
    left_out, place = excluded_note(images.excluded) if images.excluded else "", listed or images.listed
    for note in filter(None, dict.fromkeys((*images.notes, left_out))):
        console.say(f"images: {note}" + (f"; {place} lists all" if note == left_out and place else ""))


def require_same_data(out: Path, images: Images) -> None:
    """Refuse to continue a study with other images, before any work is done.

    Raises:
        UserError: the folder was made from other images.
    """
    path = out / "images.json"
    if not path.exists():
        return
    old = files.read_json(path, _Made, fix="delete it, and run the same command again")
    if old.fingerprint != images.fingerprint:
        raise UserError(
            f"{out} was made from other images ({old.source}, {old.train} images, fingerprint "
            f"{old.fingerprint}; now {len(images.train)} images, {images.fingerprint}); choose another --out"
        )


def write_record(out: Path, prepared: Recorded, data: str, command: str) -> None:
    """Write ``recipe.yaml`` (every value that is used, versions, hardware, data) and ``images.json``."""
    if distributed.rank() != 0:
        return
    images = prepared.images
    out.mkdir(parents=True, exist_ok=True)
    ways = ways_from(out, data, prepared.recipe.images.labels)
    record = {
        "recipe": Path(prepared.name).name,
        "command": command,
        "data": {"source": data, **ways, "fingerprint": images.fingerprint, "train": len(images.train)},
        "versions": versions(),
        "machine": machine(),
        **plain(prepared.recipe),
    }
    files.write_text(out / "recipe.yaml", yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    labels = images.train.labels
    found = {
        "source": images.source,
        "train": len(images.train),
        "test": None if images.test is None else len(images.test),
        "channels": images.channels,
        "size": images.size,
        "classes": list(images.classes) if images.classes else None,
        "labelled_train": 0 if labels is None else int((labels >= 0).sum()),
        "fingerprint": images.fingerprint,
        "notes": list(images.notes),
        "tones": None if images.tones is None else images.tones.record(),
        "excluded": [excluded.record() for excluded in images.excluded],
    }
    files.write_json(out / "images.json", found)
