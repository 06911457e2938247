"""The data of a plan: the images where they are there, else their known shape; nothing is downloaded for a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clsp.errors import UserError
from clsp.images.catalogue import BUILTIN_NAMES, PACKAGED, SHAPES
from clsp.recipes.names import recipe_for, recipe_names
from clsp.recipes.recipe import Recipe
from clsp.settings.values import Tree

if TYPE_CHECKING:
    from clsp.images.imageset import Images
    from clsp.recipes.prepare import Prepared


@dataclass(frozen=True)
class Planned:
    """What ``clsp check`` plans."""

    prepared: Prepared
    there: bool
    """Whether the images are there; else they have a shape and no content."""
    said: tuple[str, ...] = ()
    """How the run was fitted to a time, where it was."""


def prepare_plan(
    data: str | None,
    *,
    recipe: str | None = None,
    overrides: Tree | None = None,
    gpu: str | None = None,
    hours: str | None = None,
) -> Planned:
    """Open the data, or imagine them, and resolve the recipe as a run does.

    Args:
        data: a SOURCE; None: the one that the recipe is named for.
        recipe: a built-in name or a YAML file; None: the SOURCE's own, else ``folder``.
        overrides: see `clsp.recipes.prepare.prepare`.
        gpu: a GPU by name that the run is planned for, whatever this machine has.
        hours: the time that the run may take; None: as a run does.

    Raises:
        UserError: no data are named, they cannot be read, or an option is wrong.
    """
    from clsp.images.sources import open_images
    from clsp.images.unread import UNREAD
    from clsp.preflight.budget import RECIPE, fit_to_time, seconds_for
    from clsp.recipes.prepare import prepare_with
    from clsp.recipes.recipe import load_recipe

    source = data or _data_of(recipe)
    there, name = _is_there(source), recipe or recipe_for(source)

    def opened(first: Recipe) -> Images:
        return open_images(source, first.images, seed=first.seed) if there else _imagined(source, first)

    seconds = seconds_for(name, hours, accelerated=gpu is not None)
    if seconds is None:
        return Planned(prepare_with(opened, name, overrides, accelerated=gpu is not None), there)
    first = load_recipe(RECIPE, overrides)
    seen = open_images(source, first.images, seed=first.seed, store=UNREAD) if there else _imagined(source, first)
    budget = fit_to_time(seen, seconds, overrides, gpu=gpu)
    return Planned(budget.prepare(overrides, opened), there, budget.said)


def _data_of(recipe: str | None) -> str:
    if recipe in SHAPES or recipe == "digits":
        return str(recipe)
    named = [name for name in recipe_names() if name in SHAPES or name == "digits"]
    raise UserError(f"clsp check needs --data SOURCE, or a --recipe that is named for its data ({', '.join(named)})")


def _is_there(source: str) -> bool:
    if source in BUILTIN_NAMES:
        from clsp.images.builtin import is_there

        return is_there(source)
    return source not in SHAPES or Path(source).exists()  # what is neither there nor known is an error of open_images


def _imagined(source: str, recipe: Recipe) -> Images:
    """Images without content, of the shape that a run would find: one byte stands for all pixels."""
    from clsp.images.imageset import Images, Split

    config, shape = recipe.images, SHAPES[source]
    size, channels = config.size or shape.size, config.channels or shape.channels

    def split(count: int) -> Split:
        pixels = np.broadcast_to(np.uint8(0), (count, channels, size, size))
        labels = None if config.labels == "none" else np.broadcast_to(np.int64(0), (count,))
        return Split(images=pixels, names=_Names(count), labels=labels)

    train = min(shape.train, config.limit or shape.train)
    return Images(source=source, train=split(train), test=split(shape.test) if shape.test else None)


class _Names(Sequence[str]):
    """As many names as there are images, without a text for each."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return f"{index:05d}"


def in_memory(source: str) -> bool:
    """Whether a run keeps the decoded images of a SOURCE in memory; else they are stored in its folder."""
    shape = SHAPES.get(source)
    return source == "digits" or (shape.array if shape else Path(source).suffix.lower() in (".npy", ".npz"))


def describe_source(images: Images, there: bool) -> str:
    """Say in one line what the data are, and where they come from if they are not there."""
    from clsp.images.torchvision_sets import datasets_root

    test = "no test part" if images.test is None else f"{len(images.test)} test images"
    text = f"{len(images.train)} train images, {test}, {images.channels} x {images.size} x {images.size}"
    if there:
        return f"{text}; {len(images.excluded)} files left out"
    if SHAPES[images.source].download:
        return f"{text}, so far as is known; not there yet, a run downloads them to {datasets_root()}"
    fix = PACKAGED.get(images.source, "bring the files")
    return f"{text}, so far as is known; not there yet, and clsp cannot download them: {fix}"
