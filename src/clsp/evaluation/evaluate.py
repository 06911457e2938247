"""The one evaluation: every evaluator whose columns the data have measures what was trained."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from clsp import faults, tabular
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluators import EVALUATORS
from clsp.evaluation.measure import Measure, records
from clsp.evaluation.task import Task
from clsp.evaluation.trained import Trained

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Result:
    """What was measured."""

    measures: tuple[Measure, ...]
    skipped: str | None = None
    """Why there is none, in one sentence."""

    def __getitem__(self, name: str) -> Measure:
        """The measure called ``name``."""
        return next(one for one in self.measures if one.name == name)

    def record(self) -> dict[str, Any]:
        """The values for metrics.json."""
        return records(self.measures) | ({"skipped": self.skipped} if self.skipped else {})

    def frame(self) -> DataFrame:
        """Return a frame of pandas, a row for each measure.

        Raises:
            UserError: pandas is not installed.
        """
        names = ("name", "title", "quantity", "value", "low", "high", "unit", "better", "protocol")
        return tabular.frame([{name: getattr(one, name) for name in names} for one in self.measures])

    def _table(self) -> tuple[list[str], list[list[str]]]:
        rows = []
        for one in self.measures:
            ends = "" if one.low is None else f"{one.low:.2f} to {one.high:.2f}"
            rows.append([f"{one.title} {one.quantity}", f"{one.value:.2f} {one.unit}".rstrip(), ends])
        return ["measure", "value", "95 % interval"], rows

    def __str__(self) -> str:
        return tabular.plain(*self._table()) or str(self.skipped or "nothing was measured")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        return tabular.as_html(*self._table()) or tabular.paragraph(str(self))


def evaluate(trained: Trained, data: Task, config: EvaluateConfig, *, without: Collection[str] = ()) -> Result:
    """Let every evaluator measure what was trained.

    Args:
        trained: what was trained.
        data: the images with their columns.
        config: the protocol.
        without: evaluators that are left out: they were asked before.
    """
    measures: list[Measure] = []
    lacking: dict[str, list[str]] = {}
    for name, kind in sorted(EVALUATORS.items(), key=lambda item: (item[1].place, item[0])):
        missing = [column for column in kind.needs if not data.has(column)]
        if missing:
            lacking.setdefault(" and ".join(f"{column.replace('_', ' ')}s" for column in missing), []).append(name)
        elif name not in without:
            faults.point("measure")
            found = kind.of(name, config)(trained, data)
            measures += [replace(one, protocol=one.protocol + trained.note) for one in found]
    skipped = "; ".join(
        f"{', '.join(names)} need {columns}, and this source has none" for columns, names in lacking.items()
    )
    return Result(tuple(measures), f"{skipped}: skipped" if lacking and not measures and not without else None)
