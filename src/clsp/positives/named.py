"""What ``--positives`` names: where the other images come from, with the bank that they are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clsp.errors import UserError, suggest
from clsp.positives.bank import PositiveBank
from clsp.positives.sources import SOURCES


@dataclass(frozen=True)
class Named:
    """A source of positives by its name, and a bank where one was named."""

    source: str
    """Its name in `SOURCES`, or one of the further words that were allowed."""
    bank: PositiveBank | None = None

    @property
    def made(self) -> dict[str, str]:
        """What identifies it, for a stage that reads it. A bank's own candidates are the bank's fingerprint alone."""
        named = {} if self.source == "bank" else {"positives": self.source}
        return named if self.bank is None else {**named, "bank": self.bank.fingerprint}


def named_positives(text: str, more: Sequence[str] = ()) -> Named:
    """Read a bank's folder, the name of a source (``view``, ``nearest``), or ``NAME:BANK`` (``noise:BANK``).

    Args:
        text: what was given.
        more: further names that are known.

    Raises:
        UserError: it is none of these, or the bank is damaged.
    """
    name, colon, place = text.partition(":")
    known = (*SOURCES.names(), *more)
    if name not in known or (name == "bank" and not colon):
        if not Path(text).exists():
            raise UserError(
                f"--positives '{text}' is neither a bank's folder nor one of {', '.join(known)}{suggest(name, known)}"
            )
        name, place = "bank", text
    return Named(name, PositiveBank.open(place) if place else None)


def require_plain(named: Named) -> None:
    """Refuse a source whose positives need more than to be shown: labels, weights, or another objective.

    Raises:
        UserError: names those that serve.
    """
    kind = SOURCES[named.source]
    if kind.needs_bank and named.bank is None:
        raise UserError(f"--positives {named.source} is made of a bank: give {named.source}:BANK")
    if not kind.plain():
        serve = ", ".join(name for name, other in SOURCES.items() if other.plain())
        raise UserError(
            f"--positives {named.source} does not serve here: a task takes one other image of each, without labels or "
            f"weights; choose one of {serve}"
        )
