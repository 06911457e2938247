"""Arms by name: a method, its positives, where they stand and what pulls them: ``simclr``, ``simclr+bank+nt_xent``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from clsp.errors import UserError, suggest
from clsp.methods import METHODS
from clsp.objectives import OBJECTIVES
from clsp.positives.placement import Placement
from clsp.positives.sources import SOURCES

DIFFUSION = "diffusion"
"""What is evaluated without an encoder of its own: the diffusion model's middle features."""
EXTRA = "extra"
"""No additional positive: the candidates are images to train on."""


@dataclass(frozen=True)
class Arm:
    """One row of a study: what is trained, or evaluated as it is."""

    method: str
    """A method's name, or ``diffusion`` for the features of the diffusion model itself."""
    source: str | None = None
    """Where the additional positive comes from; None: there is none."""
    placement: Placement | None = None
    """Where it stands; None: as the recipe says."""
    objective: str | None = None
    """What pulls it; None: what the recipe says."""
    extra: bool = False
    """Whether candidates are trained on as images of their own."""
    also: str | None = None
    """A second source, from which half of the positives come."""

    @property
    def name(self) -> str:
        """The arm as it is written."""
        return "+".join(self._words())

    def _words(self) -> list[str]:
        extra = EXTRA if self.extra else None
        return [word for word in (self.method, extra, self.source, self.also, self.placement, self.objective) if word]

    @property
    def trains(self) -> bool:
        """Whether an encoder is trained; the diffusion model is evaluated as it is."""
        return self.method != DIFFUSION

    def general(self) -> list[str]:
        """The names under which a recipe's ``per_method`` may speak of this arm, the most general first."""
        words = self._words()
        return ["+".join(words[: count + 1]) for count in range(len(words))]

    def settings(self) -> dict[str, Any]:
        """What the arm says of the section ``pretrain``, nested."""
        positive: dict[str, Any] = {"source": self.source, "also": self.also}
        # An objective of the arm's own pulls a third view; in the second view's place the method's does.
        placement = self.placement or ("third" if self.objective else None)
        positive |= {"placement": placement} if placement else {}
        positive |= {"objective": self.objective} if self.objective else {}
        return {"method": self.method, "extra": self.extra, "positive": positive}


def parse_arm(text: str) -> Arm:
    """Read an arm.

    Raises:
        UserError: a word is unknown, or stands where it means nothing.
    """
    first, *words = text.strip().split("+")
    if first == DIFFUSION and not words:
        return Arm(DIFFUSION)
    if first not in METHODS:
        known = (*METHODS.names(), DIFFUSION)
        raise UserError(f"arm '{text}': '{first}' is not one of {', '.join(known)}{suggest(first, known)}")
    found: dict[str, Any] = {}
    for word in words:
        kind = _kind(text, word, found)
        if kind in found:
            raise UserError(f"arm '{text}': '{found[kind]}' and '{word}' are two of one kind; leave one out")
        found[kind] = word
    if found.pop("extra", None):
        if found:
            raise UserError(f"arm '{text}': extra has no additional positive that {words[-1]} could pull; leave it out")
        return Arm(first, extra=True)
    if found and "source" not in found:
        raise UserError(f"arm '{text}': say where the positive comes from: {first}+bank+{words[0]}")
    return Arm(first, **found)


def _kind(text: str, word: str, found: dict[str, Any]) -> str:
    """Say what kind of value a word of an arm is."""
    if not found:
        allowed: Sequence[str] = (*SOURCES.names(), EXTRA)
        if word in allowed:
            return "extra" if word == EXTRA else "source"
    elif found.keys() <= {"source", "also"} and word in SOURCES:
        return "also"
    elif word in get_args(Placement):
        return "placement"
    elif word in OBJECTIVES:
        return "objective"
    else:
        sources = SOURCES.names() if found.keys() == {"source"} else ()
        allowed = (*OBJECTIVES.names(), *get_args(Placement), *sources)
    raise UserError(f"arm '{text}': '{word}' is not one of {', '.join(allowed)}{suggest(word, allowed)}")


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
