"""From the finished cells of a grid to comparison.json: means, intervals, paired differences, costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clsp import console, files
from clsp.comparison.arms import DIFFUSION, Arm, parse_arm
from clsp.comparison.cost import Cost
from clsp.comparison.grid import Grid
from clsp.comparison.statistics import interval, paired
from clsp.engine.stage import completed, plain
from clsp.errors import UserError
from clsp.evaluation.config import EvaluateConfig
from clsp.positives.registry import MADE_BY_GENERATOR
from clsp.training.config import PretrainConfig
from clsp.training.pretrain import settings_of

SCORES = ("linear", "knn")
"""What is compared, as it stands in the ratings."""


@dataclass(frozen=True)
class Row:
    """The finished runs of an arm."""

    arm: Arm
    folders: dict[int, Path]
    """A cell's folder by its seed."""

    @cached_property
    def ratings(self) -> dict[int, dict[str, Any]]:
        """What the evaluation found, by seed."""
        paths = {seed: folder / "rating" / "stage.json" for seed, folder in self.folders.items()}
        return {seed: files.read_json(path)["facts"] for seed, path in paths.items()}

    def scores(self, score: str) -> dict[int, float]:
        """Top-1 accuracy in percent, by seed."""
        return {seed: float(rating[score]["top1"]) for seed, rating in self.ratings.items()}


def rating_settings(config: EvaluateConfig) -> dict[str, Any]:
    """Return the values that decide a rating; how many images are encoded at once, and the judge of a bank, do not."""
    return {name: value for name, value in asdict(config).items() if name not in ("batch_size", "classifier_epochs")}


def collect(grid: Grid) -> dict[str, Any]:
    """Make what comparison.json holds, of all finished runs in the grid's folder that share the grid's settings.

    The arms of this call come first; those of earlier calls with other arms or numbers of seeds stand below them.
    """
    earlier = sorted(path.name for path in (grid.out / "arms").iterdir() if path.is_dir())
    named = [arm.name for arm in grid.arms]
    rows = [_row(grid, parse_arm(name)) for name in [*named, *(name for name in earlier if name not in named)]]
    rows = [row for row in rows if row.folders]
    base = next(row for row in rows if row.arm == grid.baseline)
    first = next(iter(base.ratings.values()))
    return {
        "data": grid.prepared.images.source,
        "baseline": grid.baseline.name,
        "protocols": {score: first[score]["protocol"] for score in SCORES},
        "arms": [_record(grid, row, rows) for row in rows],
    }


def _row(grid: Grid, arm: Arm) -> Row:
    """Find an arm's finished cells; of arms that this call did not name, those with other settings are left out."""
    found = {int(path.name.removeprefix("seed-")): path for path in (grid.out / "arms" / arm.name).glob("seed-*")}
    finished = {seed: found[seed] for seed in sorted(found) if _is_finished(found[seed])}
    same = {seed: folder for seed, folder in finished.items() if arm in grid.arms or _is_alike(grid, arm, folder)}
    if len(same) < len(finished):
        console.say(f"arm {arm.name}: {len(finished) - len(same)} runs with other settings are left out of the table")
    return Row(arm, same)


def _is_finished(folder: Path) -> bool:
    path = folder / "rating" / "stage.json"
    return path.is_file() and files.read_json(path)["status"] == "finished"


def _is_alike(grid: Grid, arm: Arm, folder: Path) -> bool:
    """Whether a cell has the settings that the grid would give it now."""
    recipe = grid.prepared.recipe
    rated = files.read_json(folder / "rating" / "stage.json")["settings"]
    if completed(rated, plain(rating_settings(EvaluateConfig()))) != plain(rating_settings(recipe.evaluate)):
        return False
    if arm.method == DIFFUSION:
        return True
    record = files.read_json(folder / "stage.json")
    usual = plain(settings_of(PretrainConfig(method=arm.method), arm.positives))
    trained = completed(record["settings"], usual)
    wanted = plain(settings_of(arm.pretraining(recipe), arm.positives))
    return {name: value for name, value in trained.items() if name not in ("seed", "positives")} == wanted and record[
        "inputs"
    ]["data"] == grid.prepared.images.fingerprint


def _gaps(row: Row, rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Return the arm's differences to each of the others, paired by the seeds that both have."""
    found = {}
    for other in rows:
        gaps = {score: paired(row.scores(score), other.scores(score)) for score in SCORES}
        if other is not row and all(gaps.values()):
            found[other.arm.name] = {score: gap.record() for score, gap in gaps.items() if gap}
    return found


def _record(grid: Grid, row: Row, rows: list[Row]) -> dict[str, Any]:
    record: dict[str, Any] = {"arm": row.arm.name, "seeds": len(row.folders)}
    scores = {score: row.scores(score) for score in SCORES}
    record |= {score: interval(list(values.values())).record() for score, values in scores.items()}
    record["retrieval"] = _retrieval(row)
    record["cost"] = _cost(grid, row).record()
    return record | {"versus": _gaps(row, rows), "runs": scores}


def _retrieval(row: Row) -> dict[str, float | None] | None:
    found = [rating["retrieval"]["map"] for rating in row.ratings.values() if "retrieval" in rating]
    return interval(found).record() if found else None


def _cost(grid: Grid, row: Row) -> Cost:
    generator = _generator(grid)
    if row.arm.method == DIFFUSION:
        return Cost(0.0, generator[0], 0.0, generator[1])
    stages = [files.read_json(folder / "stage.json") for folder in row.folders.values()]
    seconds = sum(record["seconds"] for record in stages) / len(stages)
    made = generator if row.arm.positives in MADE_BY_GENERATOR else (0.0, 0.0)
    return Cost(seconds, made[0], float(stages[0]["facts"]["flops"]), made[1])


def _generator(grid: Grid) -> tuple[float, float]:
    """Seconds and FLOPs of the diffusion model's training and of the bank; 0 where neither is there."""
    if grid.bank is None:
        return 0.0, 0.0
    path = grid.bank.folder / "stage.json"
    if not path.is_file():
        raise UserError(f"the bank {grid.bank.folder} lacks stage.json, which says what it cost; copy the whole folder")
    drawn = files.read_json(path)
    trained = drawn["facts"]["generator"] or {"seconds": 0.0, "flops": 0.0}
    return trained["seconds"] + drawn["seconds"], trained["flops"] + drawn["facts"]["flops"]
