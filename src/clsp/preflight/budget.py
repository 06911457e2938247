"""``--hours``: a run of the recipe ``folder`` is fitted to a time, and keeps to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le

from clsp import console, distributed
from clsp.engine import threads
from clsp.engine.hardware import HardwareConfig, device_of
from clsp.errors import UserError
from clsp.images.imageset import Images
from clsp.preflight.fitting import OVER, Fitting
from clsp.preflight.gpus import find_gpu
from clsp.recipes.prepare import Prepared
from clsp.recipes.recipe import Recipe, load_recipe
from clsp.recipes.sizing import MOST, Extent, size_to_data
from clsp.settings.types import Side
from clsp.settings.values import Tree, flat, merge, nested

Seconds = Annotated[float, Ge(0), Le(MOST)]

RECIPE = "folder"
"""The recipe that is fitted: the others have lengths of their own."""


@dataclass(frozen=True)
class Budget:
    """A run that fits into a time."""

    seconds: Seconds
    """Of the whole run."""
    count: Annotated[int, Ge(2), Le(MOST)]
    """Train images."""
    size: Side
    """Side in pixels that the images are brought to."""
    extent: Extent
    controls: bool
    """Whether the controls are trained, unless a setting says otherwise."""
    accelerated: bool
    """Whether it is planned for a GPU."""
    planned: dict[str, Seconds]
    """Seconds by stage, in their order: ``diffusion``, ``bank``, the arms by name, ``rest``."""
    said: tuple[str, ...]
    """What was chosen and why, and what more time would change."""
    channels: Annotated[int, Ge(1), Le(16)] = 1
    """Of the images; 1 in plans from before it mattered."""

    @property
    def due(self) -> float:
        """Seconds that the run takes by its plan: its time, or what is planned where the time cannot be kept."""
        total = sum(self.planned.values())
        return total if total > OVER * self.seconds else self.seconds

    def prepare(self, overrides: Tree | None, opened: Callable[[Recipe], Images]) -> Prepared:
        """Resolve the recipe, and open the images as it says.

        Args:
            overrides: nested settings that go before what is fitted.
            opened: opens the images.
        """
        given = dict(overrides or {})
        accelerated, extent = self.accelerated, self.extent
        sized = size_to_data(
            RECIPE, self.count, self.size, channels=self.channels, accelerated=accelerated, extent=extent
        )
        more = nested({"images.size": self.size, "controls": self.controls})
        recipe = load_recipe(RECIPE, given, merge(Recipe, sized, more))
        return Prepared(recipe, RECIPE, opened(recipe), given)


def parse_hours(text: str) -> float:
    """Read a time and return its seconds: ``1`` and ``1.5`` are hours, ``15m`` and ``90 minutes`` are minutes.

    Raises:
        UserError: it is no time, or less than a minute.
    """
    number, unit = text.strip().lower(), 3600.0
    for ending, seconds in (("minutes", 60), ("min", 60), ("m", 60), ("hours", 3600), ("hour", 3600), ("h", 3600)):
        if number.endswith(ending):
            number, unit = number.removesuffix(ending).strip(), float(seconds)
            break
    try:
        found = float(number) * unit
    except ValueError:
        found = 0.0
    if not 60 <= found < 1e7:
        raise UserError(f"--hours '{text}' is no time of a minute or more; write 1, 0.5 or 15m")
    return found


def seconds_for(recipe: str, hours: str | float | None, *, accelerated: bool = False) -> float | None:
    """The seconds that a run of a recipe may take; None: as long as it takes.

    Args:
        recipe: the name of a recipe, or a file.
        hours: what was given: a number of hours, or as `parse_hours` reads it; None: what is usual, an hour on a CPU
            and two on a GPU.
        accelerated: whether the run is meant for a GPU, also where this machine has none.

    Raises:
        UserError: the recipe has lengths of its own, or it is no time.
    """
    if recipe == RECIPE and hours is None:
        return 7200.0 if accelerated or device_of(HardwareConfig()).type != "cpu" else 3600.0
    if recipe != RECIPE and hours is not None:
        raise UserError(
            f"--hours fits the recipe {RECIPE} to a time, and {recipe} has lengths of its own; "
            f"add --recipe {RECIPE}, or leave --hours out"
        )
    return None if hours is None else parse_hours(str(hours))


def fit_to_time(
    seen: Images, seconds: float, overrides: Tree | None, *, gpu: str | None = None, diffusion: str | None = None
) -> Budget:
    """Choose size, lengths and number of images so that a run of the recipe ``folder`` takes ``seconds``.

    Where the images have labels, the controls are trained as well: they tell what the bank is worth.

    Args:
        seen: the images at their own size; their number and shape matter alone.
        seconds: of the whole run.
        overrides: settings that were given; they hold, and the others are fitted around them.
        gpu: a GPU by name that the run is planned for; None: this machine, whose steps are measured.
        diffusion: a diffusers folder or hub id that serves instead of training a diffusion model.

    Raises:
        UserError: a setting is wrong.
    """
    controls = seen.train.labels is not None
    given = merge(Recipe, {"controls": controls}, _as_told(overrides or {}), overrides or {})
    card = None if gpu is None else find_gpu(gpu)
    accelerated = card is not None or device_of(load_recipe(RECIPE, given).hardware).type != "cpu"
    budget = None
    if distributed.rank() == 0:
        if card is None:
            console.say(f"plan: measuring what steps take on this machine, for a run of {console.duration(seconds)}")
        with distributed.by_itself():
            threads.bind(processes=_sharing(load_recipe(RECIPE, given).hardware))  # as the stages will have them
            fitting = Fitting(given, seen, accelerated=accelerated, gpu=card, diffusion=diffusion)
            size, extent, planned = fitting.choose(seconds)
            said = _told(fitting, seconds, f"the {gpu}" if gpu else "this machine as it is now")
        budget = Budget(seconds, len(seen.train), size, extent, controls, accelerated, planned, said, seen.channels)
    return distributed.agreed(budget)


def _as_told(overrides: Tree) -> Tree:
    """The size of the encoder that is to condition the diffusion model: it takes images of its own size alone."""
    from clsp.encoders.export import encoder_folder, read_spec  # the help does not need networks

    condition = flat(overrides, Recipe).get("diffusion.condition")
    folder = None if condition is None else encoder_folder(condition)
    if folder is None or not (folder / "config.json").is_file():
        return {}
    return nested({"images.size": read_spec(folder).size})


def _sharing(hardware: HardwareConfig) -> int:
    """Processes that share the cores of this machine."""
    return hardware.devices if device_of(hardware).type == "cpu" else 1


def _told(fitting: Fitting, seconds: float, place: str) -> tuple[str, ...]:
    """What was chosen, in five lines; in four where no bank is drawn."""
    size, extent, planned = fitting.choose(seconds, measure=False)
    recipe, count, minutes = fitting.recipe(size, extent), len(fitting.seen.train), console.duration
    trained, arms, largest = recipe.pretrain.images or count, fitting.arms(recipe), fitting.sizes[-1]
    encoders, side = sum(planned[arm.name] for arm in arms), recipe.diffusion.size or size
    own = "their own size" if size == largest else f"the largest that there is time for; they have {largest}"
    model = (
        f"diffusion model of {side} pixels, {recipe.diffusion.steps} steps of {recipe.diffusion.batch_size} "
        f"images: {minutes(planned['diffusion'])}; "
    )
    bank = (
        f"bank, {recipe.synthesize.candidates} x {recipe.synthesize.anchors or count} candidates: "
        f"{minutes(planned['bank'])}"
    )
    epochs = sorted({recipe.pretraining(arm).epochs for arm in arms})
    return (
        f"plan: {minutes(sum(planned.values()))} of {minutes(seconds)} on {place}; images of {size} pixels ({own}), "
        f"{trained} of {count} serve",
        *([f"plan: {model if fitting.own_model else ''}{bank}"] if fitting.draws else []),
        f"plan: {', '.join(arm.name for arm in arms)}, {' or '.join(map(str, epochs))} epochs each: "
        f"{minutes(encoders)}; reading, evaluation and report: {minutes(planned['rest'])}",
        _kept(fitting, sum(planned.values()), seconds),
        _changed(fitting, seconds),
    )


def _kept(fitting: Fitting, total: float, seconds: float) -> str:
    """What becomes of the time: it cannot be kept, or is kept by shorter trainings."""
    epochs = "--pretrain.epochs" if "pretrain.epochs" in flat(fitting.given, Recipe) else "--per_method"
    options = ("--diffusion.steps" if name == "diffusion" else epochs for name in fitting.lengths)
    held = " and ".join(dict.fromkeys(options))
    if total > OVER * seconds:
        why = f"with {held} it takes" if held else "it takes"
        more = f"give --hours {math.ceil(total / 60)}m" + (f", or leave {held} out" if held else ", or fewer images")
        return f"plan: {console.duration(seconds)} cannot be kept: {why} at least {console.duration(total)}; {more}"
    if held:
        return f"plan: {held} holds as you set it; should it become slower, the other trainings get shorter"
    return "plan: should it become slower, the trainings get shorter, and none is left out"


def _changed(fitting: Fitting, seconds: float) -> str:
    """What three times the time would change."""
    chosen = (fitting.choose(time, measure=False) for time in (seconds, 3 * seconds))
    before, after = (fitting.recipe(size, extent) for size, extent, _ in chosen)
    values: list[tuple[str, Callable[[Recipe], Any]]] = [
        ("pixels", lambda recipe: recipe.images.size),
        ("images", lambda recipe: recipe.pretrain.images),
        ("steps of the diffusion model", lambda recipe: recipe.diffusion.steps if fitting.own_model else 0),
        ("epochs", lambda recipe: recipe.pretrain.epochs),
    ]
    parts = [f"{value(after)} {name} ({value(before)})" for name, value in values if value(after) != value(before)]
    time = console.duration(3 * seconds)
    return f"plan: {time} would change: {', '.join(parts)}" if parts else f"plan: {time} would change nothing"
