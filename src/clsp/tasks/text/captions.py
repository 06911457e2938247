"""The captions of images: from a table, from files beside them, or made from class names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from clsp import files, randomness
from clsp.errors import UserError
from clsp.images.builtin import said_of
from clsp.images.imageset import Images, Split, subset
from clsp.tasks.text.config import TextConfig

_TABLES = ("caption", "text")
"""Columns that hold captions where none is named."""
CLASS_NAMES = "label"
"""The column to name where captions are to be made from the classes though there are others."""


@dataclass(frozen=True)
class Captions:
    """Captioned images."""

    ids: np.ndarray
    """Dataset indices of the train images that have a caption, int64 [N], sorted."""
    train: list[str]
    """Their captions, N; some of them another image's where that was asked for."""
    tested: np.ndarray
    """Rows of the test part that have a caption, int64 [M]."""
    test: list[str]
    """Their captions, M."""
    note: str
    """Where the captions come from."""
    made: bool
    """Whether they were made from class names."""


def captions_of(images: Images, config: TextConfig, *, seed: int) -> Captions:
    """Find the captions of images.

    Args:
        images: the data.
        config: where they stand, and how many of them are exchanged.
        seed: chooses images, and the captions that are exchanged.

    Raises:
        UserError: there are no captions and no classes, or fewer than two captions.
    """
    found, note, made = _found(images.train, images, config, seed)
    test = _tested(images, config, seed, made=made)
    there = np.array([number for number, text in enumerate(found) if text], dtype=np.int64)
    ids = there[subset(len(there), config.images, seed=seed)]
    if len(ids) < 2:
        raise UserError(f"{images.source} has {len(ids)} captions; at least two are needed ({note})")
    train = _exchanged([found[int(number)] for number in ids], ids, config.shuffled, seed=seed)
    tested = np.array([number for number, text in enumerate(test) if text], dtype=np.int64)
    return Captions(ids, train, tested, [test[int(number)] for number in tested], note, made)


def _found(split: Split, images: Images, config: TextConfig, seed: int) -> tuple[list[str], str, bool]:
    """Captions of one part, empty where an image has none; where they come from; and whether they were made."""
    if config.column != CLASS_NAMES:
        found, note = _written(split, images.source, config.column)
        if any(found):
            return found, note, False
    if split.labels is None or images.classes is None:
        raise UserError(
            f"{images.source} has no captions: give a column '{config.column}' in metadata.csv, or a NAME.txt beside "
            "each NAME.png"
        )
    _require_places(config.templates)
    draws = randomness.uniform(seed, "template", (torch.arange(len(split)),), 1)[:, 0].numpy()
    chosen = np.minimum(draws * len(config.templates), len(config.templates) - 1).astype(int)
    made = [
        "" if label < 0 else config.templates[place].replace("{}", _spoken(images.classes[label]))
        for place, label in zip(chosen, split.labels, strict=True)
    ]
    return made, "captions made from the class names, by templates", True


def _tested(images: Images, config: TextConfig, seed: int, *, made: bool) -> list[str]:
    """Captions of the test part, of the train part's kind; empty where there are none: nothing is refused for them."""
    split = images.test
    if split is None:
        return []
    if made:
        return _found(split, images, config, seed)[0] if split.labels is not None else [""] * len(split)
    there = config.column in _TABLES or split.has(config.column)
    found = _written(split, images.source, config.column)[0] if there else []
    return found or [""] * len(split)


def _written(split: Split, source: str, column: str) -> tuple[list[str], str]:
    """Captions that somebody wrote, empty where an image has none, and where they stand."""
    for name in dict.fromkeys((column, *(_TABLES if column in _TABLES else ()))):
        if split.has(name) or name not in _TABLES:  # a column that was named and is not there is refused
            return [str(text).strip() for text in split.column(name)], f"captions of the column '{name}'"
    if said := said_of(source, split.names):
        return said, f"titles and keywords of the files of {source}"
    return _beside(split.names, Path(source)), "captions of the .txt files beside the images"


def _beside(names: Sequence[str], folder: Path) -> list[str]:
    """What stands in the text files beside images; empty for those without."""
    if not folder.is_dir():
        return []
    found = []
    for name in names:
        path = (folder / name).with_suffix(".txt")
        found.append(files.read_text(path, errors="replace").strip() if path.is_file() else "")
    return found


def _exchanged(captions: list[str], ids: np.ndarray, fraction: float, *, seed: int) -> list[str]:
    """Exchange the captions of a ``fraction`` of the images, each for the next one's in a random order."""
    if not fraction:
        return captions
    draws = randomness.uniform(seed, "exchanged captions", (torch.from_numpy(ids),), 2).numpy()
    chosen = np.flatnonzero(draws[:, 0] < fraction)
    order = chosen[np.argsort(draws[chosen, 1], kind="stable")]
    given = list(captions)
    for place, other in zip(order, np.roll(order, 1), strict=True):
        given[int(place)] = captions[int(other)]
    return given


def _spoken(name: str) -> str:
    """A class name as one would say it."""
    return name.replace("_", " ").strip()


def sentences(names: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """All sentences of each class.

    Raises:
        UserError: a template has no place for the name.
    """
    _require_places(templates)
    return [[template.replace("{}", _spoken(name)) for template in templates] for name in names]


def _require_places(templates: Sequence[str]) -> None:
    if not templates or any("{}" not in template for template in templates):
        raise UserError(f"--text.templates {list(templates)}: each must hold {{}}, where the name stands")
