"""A task's recipe that fits its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from clsp.encoders.export import encoder_folder, read_spec
from clsp.engine.hardware import HardwareConfig, device_of
from clsp.errors import UserError
from clsp.images.config import ImagesConfig
from clsp.images.imageset import Images
from clsp.images.sources import open_images
from clsp.recipes.names import recipe_for
from clsp.recipes.recipe import read_recipe
from clsp.settings.values import Tree, build, merge


class TaskRecipe(Protocol):
    """All settings of a task."""

    @property
    def seed(self) -> int:
        """Names every random draw."""

    @property
    def images(self) -> ImagesConfig:
        """How images are read."""

    @property
    def hardware(self) -> HardwareConfig:
        """Devices."""

    @staticmethod
    def sized(count: int, *, accelerated: bool) -> Tree:
        """Values of the recipe ``folder`` for so many labelled images."""


R = TypeVar("R", bound=TaskRecipe)


@dataclass(frozen=True)
class Prepared(Generic[R]):
    """A task's recipe that fits its data."""

    recipe: R
    name: str
    """The recipe's name or file."""
    images: Images


def prepare_task(
    task: str,
    kind: type[R],
    data: str,
    *,
    recipe: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    encoder: str | None = None,
    store: Path | None = None,
) -> Prepared[R]:
    """Open the data and resolve a task's recipe: defaults < its file < what the data ask for < ``overrides``.

    Args:
        task: the task's name.
        kind: the class of its settings.
        data: a SOURCE.
        recipe: a built-in recipe of the task or a YAML file; None: the SOURCE's own, else ``folder``.
        overrides: nested settings; values may be text.
        encoder: an encoder's folder or a run, whose channels and size the images are brought to.
        store: a folder for decoded pixels that the user's cache does not take.

    Raises:
        UserError: the data cannot be read, or a setting is wrong.
    """
    name = recipe or recipe_for(data, task)
    read = read_recipe(name, task)
    try:
        build(kind, read)
    except UserError as error:
        raise UserError(f"--recipe {name}: {error}") from error
    given = merge(kind, _as_the_encoder_has_them(encoder), overrides or {})
    first = build(kind, merge(kind, read, given))
    images = open_images(data, first.images, seed=first.seed, own=store)
    labels = images.train.labels
    count = len(images.train) if labels is None else int(np.count_nonzero(labels >= 0))
    accelerated = device_of(first.hardware).type != "cpu"
    sized = kind.sized(count, accelerated=accelerated) if name == "folder" else {}
    return Prepared(build(kind, merge(kind, read, sized, given)), name, images)


def _as_the_encoder_has_them(encoder: str | None) -> Tree:
    """Channels and size of the images that an encoder of clsp takes."""
    if encoder is None:
        return {}
    folder = encoder_folder(encoder)
    if not (folder / "config.json").is_file():
        return {}  # timm's weights take any; what is no encoder is refused where it is read
    spec = read_spec(folder)
    return {"images": {"channels": spec.channels, "size": spec.size}}
