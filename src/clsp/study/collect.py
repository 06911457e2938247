"""From the finished cells of a study to comparison.json: means, intervals, paired differences, costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clsp import console, files
from clsp.engine.record import Record, read_record, require_record
from clsp.engine.stage import as_stored, completed
from clsp.errors import UserError
from clsp.evaluation.measure import Metrics, difference
from clsp.evaluation.statistics import IMAGES, SEEDS, interval, paired
from clsp.recipes.arms import Arm, parse_arm
from clsp.settings.identity import identity
from clsp.study.cost import Cost
from clsp.study.evaluation import each_of
from clsp.study.study import Study, seed_of
from clsp.training.checks import needs_bank, sees_labels, shows_generated


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
    """Make what comparison.json holds, of all finished runs in the study's folder that can be compared with its own.

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
    """The arms of this call, and below them those of earlier calls; other folders beside them are passed over."""
    rows = [_row(study, arm) for arm in (*study.arms, *_earlier(study))]
    return [row for row in rows if row.folders]


def _earlier(study: Study) -> list[Arm]:
    """The arms in the study's folder that this call did not name."""
    found = []
    for path in sorted(path for path in (study.out / "arms").iterdir() if path.is_dir()):
        with suppress(UserError):
            arm = parse_arm(path.name)
            found += [arm] if arm.name == path.name and arm not in study.arms else []
    return found


def _row(study: Study, arm: Arm) -> Row:
    """Find an arm's finished cells; of those that this call did not name, what cannot be compared is left out."""
    numbered = {seed_of(path.name): path for path in (study.out / "arms" / arm.name).glob("seed-*")}
    found = {seed: path for seed, path in numbered.items() if seed is not None}
    finished = {seed: found[seed] for seed in sorted(found) if _is_finished(arm, found[seed])}
    own = study.seeds if arm in study.arms else []
    other = {seed: "" if seed in own else _other(study, arm, folder) for seed, folder in finished.items()}
    for what, number in Counter(filter(None, other.values())).items():
        console.say(f"arm {arm.name}: {number} runs with other {what} are left out of the table")
    return Row(arm, {seed: folder for seed, folder in finished.items() if not other[seed]})


def _is_finished(arm: Arm, folder: Path) -> bool:
    """Whether a cell was trained, if it is to be, and evaluated."""
    stages = (folder, folder / "evaluation") if arm.trains else (folder / "evaluation",)
    records = [read_record(stage) for stage in stages]
    return all(record is not None and record.finished for record in records)


def _other(study: Study, arm: Arm, folder: Path) -> str:
    """What of a cell is not what the study would give it now; empty where all is."""
    recipe, evaluated = study.prepared.recipe, require_record(folder / "evaluation")
    if evaluated.inputs.get("test") != study.test:
        return "test images"
    if changed := _changed(evaluated, recipe.evaluate, study.data):
        return changed
    if not arm.trains:
        bank = study.known_bank
        return "" if bank is not None and evaluated.inputs.get("encoder") == bank.unet else "diffusion models"
    config, trained = recipe.pretraining(arm), require_record(folder)
    if changed := _changed(trained, config, study.data):
        return changed
    if trained.settings.get("anchors") != files.fingerprint(study.anchors().tolist()):
        return "anchors"
    if not needs_bank(config):
        return ""
    bank = study.known_bank
    return "" if bank is not None and trained.inputs.get("bank") == bank.fingerprint else "candidates"


def _changed(record: Record, config: Any, data: str) -> str:
    """What of a stage differs from these settings, whatever its seed, and these data; empty where nothing does."""
    made = completed(record.settings, as_stored(identity(config, usual=True)))
    wanted = as_stored(identity(config))
    if record.inputs.get("data") != data:
        return "train images"
    return "" if {name: made.get(name) for name in wanted} == wanted else "settings"


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
    if not row.arm.trains:
        seconds, flops = _generator(study)
        return Cost(0.0, seconds, 0.0, flops)
    stages = [require_record(folder) for folder in row.folders.values()]
    seconds = sum(record.seconds for record in stages) / len(stages)
    shown = shows_generated(study.prepared.recipe.pretraining(row.arm))
    made = _generator(study) if shown else (0.0, 0.0)
    return Cost(seconds, made[0], stages[0].number("flops"), made[1])


def _generator(study: Study) -> tuple[float, float]:
    """Seconds and FLOPs of the diffusion model's training and of the bank, which all rows with a bank share."""
    assert study.known_bank is not None
    folder = study.known_bank.folder
    drawn = read_record(folder)
    if drawn is None:
        raise UserError(f"the bank {folder} lacks stage.json, which says what it cost; copy the whole folder")
    with files.foreign(drawn.path):
        trained = drawn.facts["generator"] or {"seconds": 0.0, "flops": 0.0}
        return float(trained["seconds"]) + drawn.seconds, float(trained["flops"]) + drawn.number("flops")
