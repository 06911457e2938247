"""From the finished cells of a study to comparison.json: means, intervals, paired differences, costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clsp import console, files
from clsp.engine.record import read_record, require_record
from clsp.engine.stage import as_stored, completed
from clsp.errors import UserError
from clsp.evaluation.measure import Metrics, difference
from clsp.evaluation.statistics import IMAGES, SEEDS, interval, paired
from clsp.recipes.arms import Arm, parse_arm
from clsp.settings.identity import identity
from clsp.study.cost import Cost
from clsp.study.evaluation import each_of
from clsp.study.study import Study
from clsp.training.checks import sees_labels, shows_generated


@dataclass(frozen=True)
class Row:
    """The finished runs of an arm."""

    arm: Arm
    folders: dict[int, Path]
    """A cell's folder by its seed."""

    @cached_property
    def metrics(self) -> dict[int, dict[str, Any]]:
        """What the evaluation found, by seed."""
        found: dict[int, dict[str, Any]] = {}
        for seed, folder in self.folders.items():
            path = folder / "evaluation" / "metrics.json"
            found[seed] = dict(files.read_json(path, Metrics))
            with files.foreign(path):
                for name, facts in found[seed]["measures"].items():
                    float(found[seed][name][facts["metric"]])
                    str(found[seed][name]["protocol"])
        return found

    @cached_property
    def measures(self) -> dict[str, dict[str, str]]:
        """What each measure is that any of the runs has, by name."""
        return {name: facts for found in self.metrics.values() for name, facts in found["measures"].items()}

    def scores(self, name: str) -> dict[int, float]:
        """The values of a measure, by seed."""
        found = {seed: known[name] for seed, known in self.metrics.items() if name in known["measures"]}
        return {seed: float(record[self.measures[name]["metric"]]) for seed, record in found.items()}

    def summary(self, name: str) -> dict[str, Any]:
        """Mean and interval of a measure: over the seeds, or of one run what the evaluator says."""
        scores, facts = self.scores(name), self.measures[name]
        if len(scores) > 1:
            return {**interval(list(scores.values())).record(), "limits": SEEDS}
        ((seed, value),) = scores.items()
        record = self.metrics[seed][name]
        return {"mean": value, "low": record.get("low"), "high": record.get("high"), "limits": facts["limits"]}


def gap(first: Row, second: Row, name: str, seeds: Sequence[int] | None = None) -> dict[str, Any] | None:
    """The difference of two arms in a measure, with its interval; None where they have no seed in common.

    Args:
        first: an arm.
        second: what is subtracted.
        name: the measure.
        seeds: those that count; None: all that both have.

    Returns:
        Over several seeds the mean of the differences, paired by seed; of one seed paired over the test images.
    """
    ours, theirs = (
        {s: v for s, v in row.scores(name).items() if seeds is None or s in seeds} for row in (first, second)
    )
    common, found = sorted(ours.keys() & theirs.keys()), paired(ours, theirs)
    if found is None:
        return None
    if len(common) > 1:
        return {**found.record(), "limits": SEEDS}
    paths = [each_of(row.folders[common[0]], name) for row in (first, second)]
    if all(path.is_file() for path in paths):
        each, other = (files.read_array(path) for path in paths)
        if len(each) == len(other):
            return {**difference(each, other, first.measures[name]["unit"]), "limits": IMAGES}
    return {**found.record(), "limits": ""}


def collect(study: Study) -> dict[str, Any]:
    """Make what comparison.json holds, of all finished runs in the study's folder that share its settings.

    The arms of this call come first; those of earlier calls with other arms or numbers of seeds stand below them.
    """
    rows = _rows(study)
    base = next(row for row in rows if row.arm == study.baseline)
    first = next(iter(base.metrics.values()))
    measures = {name: facts for row in rows for name, facts in row.measures.items()}
    result = {
        "data": study.prepared.images.source,
        "baseline": study.baseline.name,
        "measures": measures,
        "compared": [[one.name, other.name] for one, other in study.compared],
        "protocols": {name: first[name]["protocol"] for name in first["measures"]},
        "arms": [_record(study, row, rows) for row in rows],
    }
    if study.gate is not None:
        result["gate"] = study.gate
    return result | ({"skipped": first["skipped"]} if "skipped" in first else {})


def metrics_of(study: Study, judged: dict[str, Any]) -> dict[str, Any]:
    """Make what evaluation/metrics.json holds: the main arm's first run, those of the others, and what it gains."""
    seed = study.seeds[0]
    rows = {arm: Row(arm, {seed: study.folder(arm, seed)}) for arm in study.arms}
    main = rows.pop(study.main)
    gaps = {arm.name: {name: gap(main, row, name) for name in main.measures} for arm, row in rows.items()}
    metrics = {
        "arm": study.main.name,
        **main.metrics[seed],
        "controls": {arm.name: row.metrics[seed] for arm, row in rows.items()},
        "differences": {arm: {name: found for name, found in known.items() if found} for arm, known in gaps.items()},
    }
    return metrics | ({"candidates": judged} if judged else {})


def _rows(study: Study) -> list[Row]:
    earlier = sorted(path.name for path in (study.out / "arms").iterdir() if path.is_dir())
    named = [arm.name for arm in study.arms]
    rows = [_row(study, parse_arm(name)) for name in [*named, *(name for name in earlier if name not in named)]]
    return [row for row in rows if row.folders]


def _row(study: Study, arm: Arm) -> Row:
    """Find an arm's finished cells; of arms that this call did not name, those with other settings are left out."""
    found = {int(path.name.removeprefix("seed-")): path for path in (study.out / "arms" / arm.name).glob("seed-*")}
    finished = {seed: found[seed] for seed in sorted(found) if _is_finished(found[seed])}
    same = {seed: folder for seed, folder in finished.items() if arm in study.arms or _is_alike(study, arm, folder)}
    if len(same) < len(finished):
        console.say(f"arm {arm.name}: {len(finished) - len(same)} runs with other settings are left out of the table")
    return Row(arm, same)


def _is_finished(folder: Path) -> bool:
    record = read_record(folder / "evaluation")
    return record is not None and record.finished


def _is_alike(study: Study, arm: Arm, folder: Path) -> bool:
    """Whether a cell has the settings that the study would give it now."""
    recipe = study.prepared.recipe
    if not _same(folder / "evaluation", recipe.evaluate, study.data):
        return False
    return not arm.trains or _same(folder, recipe.pretraining(arm), study.data)


def _same(folder: Path, config: Any, data: str) -> bool:
    """Whether a stage was made with these settings, whatever its seed, and from these data."""
    record = require_record(folder)
    made = completed(record.settings, as_stored(identity(config, usual=True)))
    wanted = as_stored(identity(config))
    return {name: made.get(name) for name in wanted} == wanted and record.inputs.get("data") == data


def _record(study: Study, row: Row, rows: list[Row]) -> dict[str, Any]:
    summaries = {name: row.summary(name) for name in row.measures}
    versus: dict[str, dict[str, Any]] = {}
    for other in rows:
        if other is not row:
            gaps = {name: gap(row, other, name) for name in row.measures if name in other.measures}
            versus[other.arm.name] = {name: found for name, found in gaps.items() if found}
    return {
        "arm": row.arm.name,
        "seeds": len(row.folders),
        "sees_labels": row.arm.trains and sees_labels(study.prepared.recipe.pretraining(row.arm)),
        **summaries,
        "cost": _cost(study, row).record(),
        "versus": {name: gaps for name, gaps in versus.items() if gaps},
        "runs": {name: row.scores(name) for name in row.measures},
    }


def _cost(study: Study, row: Row) -> Cost:
    generator = _generator(study)
    if not row.arm.trains:
        return Cost(0.0, generator[0], 0.0, generator[1])
    stages = [require_record(folder) for folder in row.folders.values()]
    seconds = sum(record.seconds for record in stages) / len(stages)
    shown = shows_generated(study.prepared.recipe.pretraining(row.arm))
    made = generator if shown else (0.0, 0.0)
    return Cost(seconds, made[0], stages[0].number("flops"), made[1])


def _generator(study: Study) -> tuple[float, float]:
    """Seconds and FLOPs of the diffusion model's training and of the bank; 0 where neither is there."""
    if study.bank is None:
        return 0.0, 0.0
    drawn = read_record(study.bank.folder)
    if drawn is None:
        raise UserError(
            f"the bank {study.bank.folder} lacks stage.json, which says what it cost; copy the whole folder"
        )
    with files.foreign(drawn.path):
        trained = drawn.facts["generator"] or {"seconds": 0.0, "flops": 0.0}
        return float(trained["seconds"]) + drawn.seconds, float(trained["flops"]) + drawn.number("flops")
