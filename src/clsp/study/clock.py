"""A run that was given a time: each stage gets its share of what is left, whatever the stages before it took."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clsp import distributed, files
from clsp.engine.course import Pace
from clsp.engine.record import read_record
from clsp.errors import UserError
from clsp.preflight.budget import Budget, Seconds

BUDGET = "budget.json"
"""The plan of a run, and the time that went into it so far."""

_LENIENT = 0.5
"""Fraction of the other stages' time that a diffusion model gets which does not draw well enough in its own."""

_COMPARABLE = 0.1
"""Fraction by which the whole time may be exceeded, so that a training need not end before the one that it is compared
with: encoders that saw fewer images tell little of a bank."""

_FIX = "delete it, and run the same command again: the time is then planned anew"


@dataclass
class Clock:
    """What is left of a run's time."""

    budget: Budget
    out: Path
    before: float = 0.0
    """Seconds of earlier calls."""
    began: float = field(default_factory=time.monotonic)
    """When this call began."""
    held: frozenset[str] = frozenset()
    """Stages of the plan whose length was given: they take it, whatever the time."""
    worked: bool = False
    """Whether this call had something to do: a call that finds all of it done takes no time of the run."""

    @property
    def spent(self) -> float:
        """Seconds that went into the run so far."""
        return self.before + time.monotonic() - self.began

    def save(self) -> None:
        """Write down the plan and the time that was spent, where there was something to do."""
        if distributed.rank() == 0 and self.worked:
            files.write_json(self.out / BUDGET, {**asdict(self.budget), "spent": round(self.spent, 1)})

    def pace(self, stage: str, folder: Path, *, compared: float | None = None) -> Pace | None:
        """The pace of a stage that is about to begin or to go on: its share of what is left, by the plan.

        None: its length was given, and holds.

        Args:
            stage: its name in the plan.
            folder: where it is made.
            compared: the fraction of its planned steps that another training took, with which it is to be compared.
        """
        planned = self.budget.planned
        names = list(planned)
        stage = stage if stage in planned else names[2]  # what came in the place of the arm with a bank that failed
        coming = sum(planned[name] for name in names[names.index(stage) :])
        record = None
        with suppress(UserError):
            record = read_record(folder)
        own = record.seconds if record else 0.0
        self.worked |= record is None or not record.finished
        self.save()
        if stage in self.held:
            return None
        remaining = self.budget.due - self.spent
        left = max(remaining, 0.0)
        # What an interrupted stage took is gone for all; it has what is left of its share besides.
        ahead = max(planned[stage] - own, 0.0)
        share = ahead / max(coming - planned[stage] + ahead, 1e-9)
        more = _LENIENT * left * (1.0 - share) if stage == "diffusion" else 0.0
        beyond = 0.0 if compared is None else max(_COMPARABLE * self.budget.due + min(remaining, 0.0), 0.0)
        return Pace(own + left * share + beyond, begin=compared, more=more)


def read_budget(out: Path) -> tuple[Budget, float] | None:
    """Read the plan of a run that was begun, and the seconds that went into it; None: there is none.

    Raises:
        UserError: it is damaged.
    """
    path = out / BUDGET
    if not path.exists():
        return None
    kept = files.read_json(path, _Kept, fix=_FIX)
    with files.foreign(path, _FIX):
        if not {"diffusion", "bank", "rest"} <= kept.planned.keys() or len(kept.planned) < 4:
            raise ValueError("its plan lacks stages")
    budget = Budget(**{name: getattr(kept, name) for name in Budget.__dataclass_fields__})
    return budget, max(kept.spent, _worked(out))


@dataclass(frozen=True)
class _Kept(Budget):
    """What the file holds."""

    spent: Seconds = 0.0


def _worked(out: Path) -> float:
    """Seconds of all stages: a call that was killed did not write down its own."""
    total = 0.0
    for path in out.rglob("stage.json"):
        with suppress(UserError):
            record = read_record(path.parent)
            total += record.seconds if record and "superseded" not in path.parts else 0.0
    return total
