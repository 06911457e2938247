"""The grid: every arm with every seed, on the same data, encoder, epochs and probe; what is finished is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clsp import console, files, workflow
from clsp.comparison.arms import Arm
from clsp.comparison.cost import Cost
from clsp.comparison.statistics import interval, paired
from clsp.engine.stage import stage
from clsp.errors import UserError
from clsp.images.imageset import subset
from clsp.positives.bank import PositiveBank
from clsp.positives.registry import NEEDS_BANK
from clsp.workflow import Prepared

SCORES = ("linear", "knn")


@dataclass(frozen=True)
class Grid:
    """A comparison in the making."""

    prepared: Prepared
    out: Path
    arms: list[Arm]
    seeds: list[int]
    baseline: Arm
    bank: PositiveBank | None

    def folder(self, arm: Arm, seed: int) -> Path:
        """Where a cell's encoder lies."""
        return self.out / "arms" / arm.name / f"seed-{seed}"

    def anchors(self) -> np.ndarray:
        """The images that all arms and seeds are trained on: with a bank, those that have candidates."""
        recipe, total = self.prepared.recipe, len(self.prepared.images.train)
        if recipe.pretrain.images is None and self.bank is not None:
            return self.bank.ids
        return subset(total, recipe.pretrain.images, seed=recipe.seed)


def compare(
    prepared: Prepared, out: Path, arms: list[Arm], *, seeds: int, baseline: Arm | None = None, bank: Path | None = None
) -> dict[str, Any]:
    """Train and rate every arm with every seed, and write ``comparison.json``, ``comparison.md`` and the report.

    The diffusion model and its bank are made once, by the recipe's seed; seeds 0 .. n - 1 name weights, order and views
    of the pretrainings. A second call finishes what is missing; more seeds or arms may be added to a finished grid.

    Args:
        prepared: data and recipe.
        out: the comparison's folder.
        arms: the rows of the table.
        seeds: runs an arm.
        baseline: what the others are compared with; default the first arm.
        bank: a bank that exists; default: it is made.

    Returns:
        What comparison.json holds.

    Raises:
        UserError: the data have no labels, or the folder belongs to another comparison.
    """
    if prepared.images.train.labels is None:
        raise UserError(f"clsp compare rates encoders by their labels, and {prepared.images.source} has none")
    if baseline is not None and baseline not in arms:
        raise UserError(f"--baseline {baseline.name} is none of the arms {', '.join(arm.name for arm in arms)}")
    chosen = _bank(prepared, out, bank) if any(arm.positives in NEEDS_BANK for arm in arms) else None
    grid = Grid(prepared, out, arms, list(range(seeds)), baseline or arms[0], chosen)
    for seed in grid.seeds:  # seed by seed: an interrupted grid has all arms equally often
        for arm in arms:
            _cell(grid, arm, seed)
    result = _collect(grid)
    files.write_json(out / "comparison.json", result)
    return result


def _bank(prepared: Prepared, out: Path, given: Path | None) -> PositiveBank:
    if given is not None:
        return PositiveBank.open(given)
    workflow.diffusion_stage(prepared, out / "diffusion")
    return workflow.bank_stage(prepared, out / "diffusion", out / "positives")


def _cell(grid: Grid, arm: Arm, seed: int) -> None:
    """Train and rate one arm with one seed."""
    from clsp.evaluation.evaluate import evaluate_encoder, make_task
    from clsp.training.pretrain import pretrain

    recipe, images, folder = grid.prepared.recipe, grid.prepared.images, grid.folder(arm, seed)
    config = replace(recipe.pretrain, method=arm.method)
    console.say(f"arm {arm.name}, seed {seed}")
    pretrain(
        images,
        config,
        recipe.hardware,
        seed=seed,
        folder=folder,
        positives=arm.positives,
        bank=grid.bank,
        anchors=grid.anchors(),
    )
    encoder = files.file_hash(folder / "encoder.safetensors")[:16]
    with stage("rating", folder / "rating", settings={}, inputs={"encoder": encoder}) as current:
        if not current.finished:
            task = make_task(images, recipe.evaluate, seed=recipe.seed)
            result = evaluate_encoder(folder, task, recipe.evaluate)
            assert result.linear and result.knn
            current.facts = {"linear": result.linear.record(), "knn": result.knn.record()}


def _collect(grid: Grid) -> dict[str, Any]:
    scores = {arm.name: {score: _scores(grid, arm, score) for score in SCORES} for arm in grid.arms}
    base = grid.baseline.name
    rows = []
    for arm in grid.arms:
        row: dict[str, Any] = {"arm": arm.name, "seeds": len(grid.seeds)}
        row |= {score: interval(list(scores[arm.name][score].values())).record() for score in SCORES}
        row["cost"] = _cost(grid, arm).record()
        if arm != grid.baseline:
            gaps = {score: paired(scores[arm.name][score], scores[base][score]) for score in SCORES}
            row["versus"] = {base: {score: gap.record() for score, gap in gaps.items() if gap}}
        row["runs"] = {score: scores[arm.name][score] for score in SCORES}
        rows.append(row)
    protocol = _rating(grid, grid.arms[0], grid.seeds[0])["linear"]["protocol"]
    return {"data": grid.prepared.images.source, "baseline": base, "protocol": protocol, "arms": rows}


def _rating(grid: Grid, arm: Arm, seed: int) -> dict[str, Any]:
    facts: dict[str, Any] = files.read_json(grid.folder(arm, seed) / "rating" / "stage.json")["facts"]
    return facts


def _scores(grid: Grid, arm: Arm, score: str) -> dict[int, float]:
    return {seed: float(_rating(grid, arm, seed)[score]["top1"]) for seed in grid.seeds}


def _cost(grid: Grid, arm: Arm) -> Cost:
    stages = [files.read_json(grid.folder(arm, seed) / "stage.json") for seed in grid.seeds]
    seconds = sum(record["seconds"] for record in stages) / len(stages)
    flops = float(stages[0]["facts"].get("flops", 0.0))
    if arm.positives not in NEEDS_BANK or grid.bank is None:
        return Cost(seconds, 0.0, flops, 0.0)
    drawn = files.read_json(grid.bank.folder / "stage.json")
    trained = grid.bank.manifest["generator"] or {"seconds": 0.0, "flops": 0.0}
    return Cost(seconds, trained["seconds"] + drawn["seconds"], flops, trained["flops"] + drawn["facts"]["flops"])


def table(result: dict[str, Any]) -> str:
    """Lay the comparison out as a Markdown table."""
    base = result["baseline"]
    lines = [
        f"| arm | seeds | linear | kNN | linear minus {base} | kNN minus {base} | pretraining | generator |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["arms"]:
        versus = row.get("versus", {}).get(base, {})
        cells = [row["arm"], str(row["seeds"]), *(_shown(row[score]) for score in SCORES)]
        cells += [_shown(versus[score], signed=True) if score in versus else "" for score in SCORES]
        cost = row["cost"]
        cells += [console.duration(cost["pretraining_seconds"]), console.duration(cost["generator_seconds"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(value: dict[str, float | None], *, signed: bool = False) -> str:
    mean, low, high = value["mean"], value["low"], value["high"]
    sign = "+" if signed else ""
    text = f"{mean:{sign}.2f}"
    return text if low is None else f"{text} ({low:{sign}.2f} to {high:{sign}.2f})"
