"""A recipe: every setting of a run, from defaults, a YAML file, the data's size and the command line, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from clsp.diffusion.config import DiffusionConfig
from clsp.engine.hardware import HardwareConfig
from clsp.errors import UserError, suggest
from clsp.evaluation.config import EvaluateConfig
from clsp.images.config import ImagesConfig
from clsp.positives.config import PositivesName, SynthesizeConfig
from clsp.training.config import PretrainConfig

Config = TypeVar("Config")

_FOLDER = Path(__file__).parent

PROVENANCE = ("recipe", "command", "data", "versions", "machine")
"""What a run's recipe.yaml holds besides the recipe: how it came about."""


@dataclass(kw_only=True)
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


@dataclass(kw_only=True)
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
    """Values of the section pretrain that hold for one method each, for one with one source of positives, or for one
    with a source and an objective: {moco: {lr: 0.3, moco.memory: 65536}, simclr+bank: {lr: 0.2}, simclr+bank+host:
    {epochs: 120}}. An option --pretrain.NAME of the command line holds for all."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    def pretraining(self, method: str, positives: str = "none", objective: str | None = None) -> PretrainConfig:
        """The section ``pretrain`` for ``method`` with positives from ``positives``, pulled by ``objective``."""
        arms = (method, f"{method}+{positives}", f"{method}+{positives}+{objective}")
        own = {name: value for arm in arms for name, value in self.per_method.get(arm, {}).items()}
        named = {"positive_objective": objective} if objective else {}
        return changed(self.pretrain, {"method": method, **own, **named})

    def sources(self) -> list[PositivesName]:
        """Where the positives of a run's arms come from: the bank, and the controls' sources where there are any."""
        if not self.controls:
            return ["bank"]
        # A real view in the second one's place is the method alone.
        in_place = self.pretraining(self.pretrain.method, "view").positive_objective == "host"
        return ["bank", "none"] if in_place else ["bank", "none", "view"]


def changed(config: Config, values: Mapping[str, Any]) -> Config:
    """Return a dataclass with other ``values``, by their dotted names."""
    for name, value in values.items():
        field_name, dot, rest = name.partition(".")
        inner = changed(getattr(config, field_name), {rest: value}) if dot else value
        config = replace(config, **{field_name: inner})  # type: ignore[type-var]
    return config


def recipe_names() -> list[str]:
    """Names of the built-in recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def recipe_for(source: str) -> str:
    """Return the recipe that a SOURCE gets when none is named: its own, else ``folder``."""
    return source if source in recipe_names() else "folder"


def read_recipe(name: str) -> dict[str, Any]:
    """Read the values that a recipe sets, as nested dicts.

    Args:
        name: a built-in recipe, or the path of a YAML file (a run's ``recipe.yaml`` serves as well).

    Raises:
        UserError: there is no such recipe, or the file is no YAML mapping.
    """
    path = _FOLDER / f"{name}.yaml"
    if not path.exists():
        path = Path(name)
        if not path.is_file():
            raise UserError(
                f"--recipe '{name}' is neither a file nor a built-in recipe ({', '.join(recipe_names())})"
                f"{suggest(name, recipe_names())}"
            )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--recipe {path}: no valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise UserError(f"--recipe {path}: a recipe is a mapping of sections, this file holds {type(values).__name__}")
    return {name: value for name, value in values.items() if name not in PROVENANCE}


def flatten(values: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested sections into dotted names; a mapping that is itself a value (``backbone.args``) stays whole."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name not in known and isinstance(value, Mapping):
            flat |= flatten(value, known, f"{name}.")
        else:
            flat[name] = value
    return flat


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Return all values of ``recipe`` as nested dicts, for recipe.yaml."""
    return asdict(recipe)
