"""Arms by name: a method, its positives, and what pulls them: ``simclr``, ``simclr+bank``, ``simclr+bank+nt_xent``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from clsp.errors import UserError, suggest
from clsp.methods.config import NAMES, MethodName
from clsp.positives.config import SOURCES, PositivesName
from clsp.training.config import OBJECTIVES, ObjectiveName

if TYPE_CHECKING:
    from clsp.recipes.recipe import Recipe
    from clsp.training.config import PretrainConfig

Name = TypeVar("Name", bound=str)


DIFFUSION: Literal["diffusion"] = "diffusion"
"""The arm without an encoder of its own: the diffusion model's middle features, rated as they are."""


@dataclass(frozen=True)
class Arm:
    """One row of the table."""

    method: MethodName | Literal["diffusion"]
    """A method's name, or ``diffusion`` for the features of the diffusion model itself."""
    positives: PositivesName
    """Source of the additional positive."""
    objective: ObjectiveName | None = None
    """What pulls the additional positive; None: what the recipe says."""

    @property
    def name(self) -> str:
        """The arm as it is written."""
        named = (None if self.positives == "none" else self.positives, self.objective)
        return "+".join([self.method, *(part for part in named if part)])

    def pretraining(self, recipe: Recipe) -> PretrainConfig:
        """The recipe's settings for this arm; not for ``diffusion``, which trains nothing."""
        return recipe.pretraining(self.method, self.positives, self.objective)


def parse_arm(text: str) -> Arm:
    """Read an arm.

    Raises:
        UserError: the method, the positives or the objective are unknown.
    """
    if text.strip() == DIFFUSION:
        return Arm(DIFFUSION, "none")
    name, *more = text.strip().split("+", 2)
    method = next((known for known in NAMES if known == name), None)
    if method is None:
        known = (*NAMES, DIFFUSION)
        raise UserError(f"arm '{text}': '{name}' is not one of {', '.join(known)}{suggest(name, known)}")
    positives = _known(text, more[0], SOURCES) if more else "none"
    objective = _known(text, more[1], OBJECTIVES) if len(more) > 1 else None
    if objective and positives == "extra":
        raise UserError(f"arm '{text}': extra has no additional positive that {objective} could pull; leave it out")
    return Arm(method, positives, objective)


def _known(text: str, word: str, names: Sequence[Name]) -> Name:
    """Return ``word``, a part of the arm ``text``, as one of ``names``."""
    if word not in names:
        raise UserError(f"arm '{text}': '{word}' is not one of {', '.join(names)}{suggest(word, names)}")
    return names[names.index(word)]


def parse_arms(text: str) -> list[Arm]:
    """Read arms separated by commas; each may stand there once.

    Raises:
        UserError: an arm is unknown or named twice.
    """
    arms = [parse_arm(part) for part in text.split(",") if part.strip()]
    names = [arm.name for arm in arms]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice or not arms:
        raise UserError(f"--methods '{text}': " + (f"'{twice}' is named twice" if twice else "no arm is named"))
    return arms
