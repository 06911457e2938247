"""Arms: a method, or a method with its positives, by name: ``simclr``, ``simclr+view``, ``simclr+bank``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clsp.errors import UserError, suggest
from clsp.methods.config import MethodName
from clsp.methods.registry import NAMES
from clsp.positives.config import POSITIVES, PositivesName

SOURCES = tuple(name for name in POSITIVES if name != "none")
"""Sources of an additional positive that can stand behind a method's plus sign."""


DIFFUSION: Literal["diffusion"] = "diffusion"
"""The arm without an encoder of its own: the diffusion model's middle features, rated as they are."""


@dataclass(frozen=True)
class Arm:
    """One row of the table."""

    method: MethodName | Literal["diffusion"]
    """A method's name, or ``diffusion`` for the features of the diffusion model itself."""
    positives: PositivesName
    """Source of the additional positive."""

    @property
    def name(self) -> str:
        """The arm as it is written."""
        return self.method if self.positives == "none" else f"{self.method}+{self.positives}"


def parse_arm(text: str) -> Arm:
    """Read an arm.

    Raises:
        UserError: the method or the positives are unknown.
    """
    if text.strip() == DIFFUSION:
        return Arm(DIFFUSION, "none")
    name, plus, positives = text.strip().partition("+")
    method = next((known for known in NAMES if known == name), None)
    if method is None:
        known = (*NAMES, DIFFUSION)
        raise UserError(f"arm '{text}': '{name}' is not one of {', '.join(known)}{suggest(name, known)}")
    source = next((name for name in SOURCES if name == positives), None)
    if plus and source is None:
        raise UserError(f"arm '{text}': '{positives}' is not one of {', '.join(SOURCES)}{suggest(positives, SOURCES)}")
    return Arm(method, source or "none")


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
