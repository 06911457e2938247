"""What is said of a bank before anything is trained on it: measures, each against a line, and whether it passes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Judged:
    """A measure, the line that it must not cross, and what both mean."""

    value: float
    line: float
    """The last value that passes."""
    good: Literal["at least", "at most"]
    """On which side of the line it passes."""
    meaning: str
    """One sentence."""
    decides: bool = True
    """Whether the bank fails by it; else it is only said."""

    @property
    def passed(self) -> bool:
        """Whether the value is on the good side."""
        return self.value >= self.line if self.good == "at least" else self.value <= self.line


@dataclass(frozen=True)
class Verdict:
    """Whether candidates are worth training on, by what the images alone can tell."""

    passed: bool
    measures: dict[str, Judged]
    """By name, in the order in which they are to be told."""
    reasons: list[str] = field(default_factory=list)
    """What is wrong, a sentence for each measure that decides and is on the wrong side."""
    warnings: list[str] = field(default_factory=list)
    """What should be known, and does not decide."""

    @classmethod
    def of(cls, measures: dict[str, Judged], wrong: dict[str, str]) -> Verdict:
        """Hold measures against their lines.

        Args:
            measures: by name.
            wrong: what it means when a measure is on the wrong side, by its name.
        """
        missed = {name: one for name, one in measures.items() if not one.passed}
        reasons = [wrong[name] for name, one in missed.items() if one.decides]
        return cls(not reasons, measures, reasons, [wrong[name] for name, one in missed.items() if not one.decides])

    def record(self) -> dict[str, Any]:
        """The verdict as plain values."""
        return asdict(self)
