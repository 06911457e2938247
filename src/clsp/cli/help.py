"""The text of ``clsp COMMAND --help``: what matters first; ``--help-all`` has every option."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from clsp.cli.table import COMMANDS, MEANINGS, METAVARS, Command

if TYPE_CHECKING:
    from clsp.settings.describe import Option

FIRST = {
    "run": (
        "controls seed images.size images.labels diffusion.steps synthesize.candidates synthesize.anchors "
        "pretrain.method pretrain.epochs pretrain.batch_size pretrain.lr pretrain.backbone.name hardware.devices"
    ),
    "compare": "pretrain.epochs pretrain.batch_size pretrain.lr pretrain.images evaluate.validation_images per_method",
    "check": "controls pretrain.epochs pretrain.batch_size diffusion.steps synthesize.candidates hardware.devices",
    "diffusion": "steps batch_size lr widths images size max_strength seed images.size hardware.devices",
    "synthesize": "candidates interpolation_weight steps sampler eta strength start guidance_scale anchors seed",
    "pretrain": (
        "method epochs batch_size lr optimizer images positive.placement positive.objective positive.third.weight "
        "positive.host.odds backbone.name augment.crop_scale seed"
    ),
    "continue": "epochs lr warmup_epochs optimizer batch_size seed",
    "evaluate": "train_images validation_images regularisation neighbours batch_size images.size",
    "embed": "size channels limit hardware.accelerator",
    "pairs": "size channels limit hardware.accelerator",
    "classify": (
        "epochs batch_size lr encoder_lr consistency.weight consistency.neighbours label_smoothing mixup noise.kind "
        "noise.rate noise.map augment.flip backbone.name seed"
    ),
    "index": (
        "quantiser.bits epochs batch_size lr encoder_lr temperature clip.count clip.threshold entropy codebook "
        "positive_weight augment.flip seed"
    ),
    "text": (
        "epochs batch_size lr column templates tower.layers tower.width dim progressive.first progressive.last "
        "smoothing shuffled backbone.name seed"
    ),
    "dense": (
        "epochs batch_size lr layer cycle.weight cycle.temperature cycle.side cycle.other temperature "
        "measure.transport measure.hough measure.pairs seed"
    ),
}
"""The options that matter first, by command; one of the command's section stands without its prefix."""


def help_of(name: str, arguments: Sequence[str] = ()) -> str:
    """Write the help of a command, with the values of the recipe that the arguments name."""
    command = COMMANDS[name]
    required = " ".join(f"--{option} {METAVARS[option]}" for option in command.required)
    optional = " ".join(f"[--{option} {METAVARS[option]}".rstrip() + "]" for option in command.optional)
    parts = ["usage: clsp", name, command.positional and f"{command.positional} ...", required, optional]
    line = " ".join(part for part in parts if part)
    text = textwrap.fill(line, 110, subsequent_indent="       ", break_on_hyphens=False) + f"\n\n{command.summary}\n"
    own = [f"  --{option:<12}{MEANINGS[option]}" for option in (*command.required, *command.optional)]
    text += "\n" + "\n".join(own) + "\n" if own else ""
    return text + _settings(name, command, arguments) if command.recipe else text


def _settings(name: str, command: Command, arguments: Sequence[str]) -> str:
    """The options of the recipe: the first ones, or all, those of the command's section first."""
    from clsp.recipes.names import recipe_names

    recipe, options = _values(command, arguments)
    names = ", ".join(recipe_names(command.task))
    names = f"recipes: {names}, or a YAML file; without --recipe the SOURCE's own, else folder"
    lines = ["", *textwrap.wrap(names, 110), f"options of the recipe{recipe}, with their values there:"]
    if command.section:
        lines.append(f"(those of the section '{command.section}' may be given without their prefix)")
    if "--help-all" not in arguments:
        known = {option.name: option for option in options}
        wanted = [f"{command.section}.{n}" if f"{command.section}.{n}" in known else n for n in FIRST[name].split()]
        lines += ["", *(line for n in wanted for line in known[n].lines())]
        return "\n".join([*lines, "", f"clsp {name} --help-all lists all {len(known)} options"])
    ordered = sorted(options, key=lambda option: not option.name.startswith(f"{command.section}."))
    for section, group in groupby(ordered, key=lambda option: option.section):
        lines += ["", *textwrap.wrap(section.partition("\n\n")[0], 110)]
        lines += [line for option in group for line in option.lines()]
    return "\n".join(lines)


def _values(command: Command, arguments: Sequence[str]) -> tuple[str, list[Option]]:
    """The options with the values of the recipe that is named, else with their defaults."""
    from dataclasses import replace

    from clsp.recipes.recipe import read_recipe
    from clsp.settings.describe import describe
    from clsp.settings.values import flat

    options = [option for option in describe(command.settings) if not option.name.startswith("about.")]
    named = _named(arguments)
    if named is None:
        return "", options
    values: dict[str, Any] = flat(read_recipe(named, command.task), command.settings)
    return f" {named}", [replace(option, default=values.get(option.name, option.default)) for option in options]


def _named(arguments: Sequence[str]) -> str | None:
    """Return the value of ``--recipe``."""
    for place, argument in enumerate(arguments):
        if argument == "--recipe":
            return next(iter(arguments[place + 1 :]), None)
        if argument.startswith("--recipe="):
            return argument.partition("=")[2]
    return None
