"""A recipe: every setting of a run, from defaults, a YAML file, the data's size and the command line, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from clsp import files
from clsp.diffusion.config import DiffusionConfig
from clsp.engine.hardware import HardwareConfig
from clsp.errors import UserError
from clsp.evaluation.section import EvaluateSection
from clsp.images.config import ImagesConfig
from clsp.positives.config import SynthesizeConfig
from clsp.recipes.arms import Arm, parse_arm
from clsp.recipes.names import recipe_path
from clsp.settings import settings
from clsp.settings.values import Tree, build, flat, merge, nested, plain
from clsp.training.config import PretrainConfig

PROVENANCE = ("recipe", "command", "data", "versions", "machine")
"""What a run's recipe.yaml holds besides the recipe: how it came about."""

_SAID_BY_ARMS = {"method", "extra", "positive.source", "positive.also"}


@settings
class AboutConfig:
    """What a recipe is for and what it should reach."""

    title: str = ""
    """One line."""
    expected: str = ""
    """The number that it should reach, and where that number comes from."""
    time: str = ""
    """How long it takes, on which hardware."""
    why: str = ""
    """Why the sizes are what they are."""


@settings
class Recipe:
    """All settings of a run."""

    about: AboutConfig = field(default_factory=AboutConfig)
    seed: int = 0
    """Names every random draw of the run."""
    controls: bool = False
    """Also train the method without the bank, and with a third real view instead of it."""
    images: ImagesConfig = field(default_factory=ImagesConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    synthesize: SynthesizeConfig = field(default_factory=SynthesizeConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    per_method: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Values of the section pretrain that hold for one method each, for one with one source of positives, or for an
    arm as it is written: {moco: {lr: 0.3, moco: {memory: 65536}}, simclr+bank: {lr: 0.2}, simclr+bank+host: {epochs:
    120}}. An option --pretrain.NAME of the command line holds for all."""
    evaluate: EvaluateSection = field(default_factory=EvaluateSection)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    @property
    def arm(self) -> Arm:
        """What a run is made for: the method with its additional positive, by default the bank's candidates."""
        return Arm(self.pretrain.method, self.pretrain.positive.source or "bank", also=self.pretrain.positive.also)

    def arms(self) -> list[Arm]:
        """The arms of a run, the main one first: with controls also the method alone, and with a third view."""
        controls = self.controls_of(self.pretrain.method) if self.controls else []
        return list(dict.fromkeys([self.arm, *controls]))  # a main arm with a third view is its own control

    def controls_of(self, method: str) -> list[Arm]:
        """What tells the worth of a method's positives: the method alone, and with a third view."""
        alone, view = Arm(method), Arm(method, "view")
        # A real view in the second one's place is the method alone.
        in_place = self.pretraining(view).positive.placement == "host"
        return [alone] if in_place else [alone, view]

    def pretraining(self, arm: Arm) -> PretrainConfig:
        """The section ``pretrain`` for an arm: what ``per_method`` says of it goes before the section.

        Raises:
            UserError: a value is out of its range.
        """
        own = (self.per_method.get(name, {}) for name in arm.general())
        return build(PretrainConfig, merge(PretrainConfig, plain(self.pretrain), *own, arm.settings()), "pretrain.")

    def check(self) -> None:
        """Refuse what ``per_method`` cannot say.

        Raises:
            UserError: names the arm, the option and what is allowed.
        """
        for name, values in self.per_method.items():
            arm = parse_arm(name)
            if said := _SAID_BY_ARMS & set(flat(values, PretrainConfig)):
                raise UserError(f"per_method {name}: '{min(said)}' is what the name of an arm says; leave it out")
            try:
                self.pretraining(arm)
            except UserError as error:
                raise UserError(f"per_method {name}: {error}") from error


def load_recipe(name: str | None, overrides: Mapping[str, Any] | None = None, sized: Tree | None = None) -> Recipe:
    """Build a recipe: defaults < the recipe's file < what the data's size asks for < ``overrides``.

    What ``per_method`` says of a method goes before the section ``pretrain``; what ``overrides`` or ``sized`` say of
    that section holds for every method.

    Args:
        name: a built-in recipe or a YAML file; None: the defaults.
        overrides: nested settings; values may be text, as on the command line.
        sized: nested settings from `clsp.recipes.sizing`.

    Raises:
        UserError: an unknown name (the right one is suggested) or a value out of its range.
    """
    read = read_recipe(name) if name else {}
    try:
        build(Recipe, read)
    except UserError as error:
        raise UserError(f"--recipe {name}: {error}") from error
    given = merge(Recipe, sized or {}, overrides or {})
    recipe = build(Recipe, merge(Recipe, read, given))
    if "per_method" not in given:
        holds = set(flat(given.get("pretrain", {}), PretrainConfig))
        own = {arm: _without(values, holds) for arm, values in recipe.per_method.items()}
        recipe = replace(recipe, per_method=own)
    recipe.check()
    return recipe


def _without(values: Mapping[str, Any], names: set[str]) -> Tree:
    """Leave dotted ``names`` out of nested settings of the section pretrain."""
    return nested({name: value for name, value in flat(values, PretrainConfig).items() if name not in names})


def read_recipe(name: str, task: str | None = None) -> dict[str, Any]:
    """Read the values that a recipe sets, as nested dicts.

    Args:
        name: a built-in recipe, or the path of a YAML file (a run's ``recipe.yaml`` serves as well).
        task: the task whose recipe it is; None: a run.

    Raises:
        UserError: there is no such recipe, or the file is no YAML mapping.
    """
    path = recipe_path(name, task)
    with files.foreign(f"--recipe {path}", "mend the file, or name a built-in recipe"):
        values = files.read_yaml(path, fix="mend the file, or name a built-in recipe")
    return {name: value for name, value in values.items() if name not in PROVENANCE}
