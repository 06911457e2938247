"""What a run or a comparison gives back in Python: its numbers as a mapping, as a table, and as a frame of pandas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsp import files, tabular
from clsp.study.gate import note
from clsp.study.table import gaps, text, values

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, repr=False, eq=False)
class StudyResult(Mapping[str, Any]):
    """The numbers of a finished run or comparison; a notebook and ``print`` show its table.

    As a mapping it is the JSON file that the call promises: ``result["linear"]["top1"]``.
    """

    folder: Path
    """Where the study lies."""
    record: dict[str, Any]
    """What the JSON file holds, see `clsp.run` and `clsp.compare`."""
    comparison: dict[str, Any]
    """What ``comparison.json`` holds."""

    @classmethod
    def read(cls, folder: str | Path, name: str = "comparison.json") -> StudyResult:
        """Read the result of the study in ``folder``.

        Args:
            folder: the study's.
            name: the file that it is a mapping of.

        Raises:
            UserError: the study has not ended, or a file is damaged.
        """
        comparison = files.read_json(Path(folder) / "comparison.json", dict[str, Any])
        return cls(Path(folder), files.read_json(Path(folder) / name, dict[str, Any]), comparison)

    def __getitem__(self, key: str) -> Any:
        return self.record[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.record)

    def __len__(self) -> int:
        return len(self.record)

    @property
    def report(self) -> Path:
        """The page of the study, which a browser opens."""
        return self.folder / "report.html"

    def frame(self, *, runs: bool = False) -> DataFrame:
        """Return the table as a frame of pandas.

        Args:
            runs: False: a row for each arm, with the mean of each measure, the ends of its interval
                (``linear_low``, ``linear_high``) where it has one, and the costs in seconds and FLOPs; True: a row for
                each arm and seed with the values themselves.

        Raises:
            UserError: pandas is not installed.
        """
        arms, names = self.comparison["arms"], list(self.comparison["measures"])
        return tabular.frame([record for row in arms for record in (_runs if runs else _means)(row, names)])

    def __str__(self) -> str:
        return "\n\n".join(part for part in (text(self.comparison), *note(self.comparison.get("gate"))) if part)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        told = list(note(self.comparison.get("gate")))
        if not self.comparison["measures"]:
            told.append(text(self.comparison))
            return "".join(map(tabular.paragraph, told))
        tables = (tabular.as_html(*table(self.comparison)) for table in (values, gaps))
        return "".join([*tables, *map(tabular.paragraph, told)])


def _means(row: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """An arm's record: means, ends and costs."""
    record = {"arm": row["arm"], "seeds": row["seeds"]}
    for name in names:
        found = row.get(name) or {}
        record |= {name: found.get("mean"), f"{name}_low": found.get("low"), f"{name}_high": found.get("high")}
    return [record | row["cost"]]


def _runs(row: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """The records of an arm's runs, by seed."""
    seeds = sorted({int(seed) for name in names for seed in row["runs"].get(name, {})})
    return [
        {"arm": row["arm"], "seed": seed, **{name: row["runs"].get(name, {}).get(str(seed)) for name in names}}
        for seed in seeds
    ]
