"""A recipe that fits its data: both are opened together, for what is not said follows from the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from clsp.engine.hardware import device_of
from clsp.errors import UserError
from clsp.images.imageset import Images
from clsp.images.sources import open_images
from clsp.recipes.arms import Arm
from clsp.recipes.names import recipe_for
from clsp.recipes.recipe import Recipe, load_recipe
from clsp.recipes.sizing import size_to_data
from clsp.settings.identity import reads
from clsp.settings.values import Tree, flat
from clsp.training.config import PretrainConfig


@dataclass(frozen=True)
class Prepared:
    """A recipe that fits its data."""

    recipe: Recipe
    name: str
    """The recipe's name or file."""
    images: Images
    given: Tree = field(default_factory=dict)
    """What was set for this call, nested."""

    def require_read(self, arms: Iterable[Arm]) -> None:
        """Refuse a setting of pretraining that changes none of ``arms``: who gives it expects it to change something.

        Raises:
            UserError: names the setting and the arms.
        """
        arms = [arm for arm in arms if arm.trains]
        configs = [self.recipe.pretraining(arm) for arm in arms]
        for name in flat(self.given.get("pretrain", {}), PretrainConfig) if arms else ():
            value = attrgetter(name)
            wanted = value(self.recipe.pretrain)
            changed = any(reads(config, name) and value(config) == wanted for config in configs)
            if not changed and wanted != value(PretrainConfig()):
                raise UserError(
                    f"--pretrain.{name} changes nothing in {', '.join(arm.name for arm in arms)}; leave it out"
                )


def prepare(
    data: str,
    *,
    recipe: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    store: Path | None = None,
) -> Prepared:
    """Open the data and resolve the recipe, sized to the data where the recipe asks for it.

    Args:
        data: a SOURCE.
        recipe: a built-in name or a YAML file; None: the SOURCE's own, else ``folder``.
        overrides: nested settings that go before the recipe's, ``{"pretrain": {"lr": 0.1}}``; values may be text.
        store: the run's own folder for decoded pixels, for what the user's cache does not take.

    Raises:
        UserError: the data cannot be read, or a setting is wrong.
    """

    def opened(first: Recipe) -> Images:
        return open_images(data, first.images, seed=first.seed, own=store)

    return prepare_with(opened, recipe or recipe_for(data), overrides)


def prepare_with(
    opened: Callable[[Recipe], Images],
    name: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    accelerated: bool = False,
) -> Prepared:
    """Resolve the recipe called ``name`` for the data that ``opened`` gives, and size it to them.

    Args:
        opened: opens the data as the recipe asks for them.
        name: a built-in recipe or a YAML file.
        overrides: see `prepare`.
        accelerated: whether the run is meant for a GPU, also where this machine has none.
    """
    first = load_recipe(name, overrides)
    images = opened(first)
    accelerated = accelerated or device_of(first.hardware).type != "cpu"
    count, channels = len(images.train), images.channels
    sized = size_to_data(name, count, images.size, channels=channels, accelerated=accelerated)
    return Prepared(load_recipe(name, overrides, sized), name, images, dict(overrides or {}))
