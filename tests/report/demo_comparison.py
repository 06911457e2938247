"""A synthetic comparison, laid out like one that ``clsp compare`` wrote."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import yaml
from demo_run import digits, dump, dump_lines, write_images, write_positives

from clsp.evaluation.statistics import interval, paired

PROTOCOLS = {"linear": "logistic regression, C = 0.1", "knn": "cosine, k = 20"}
METHODS = {
    "simclr": (85.5, 83.1, 1.0),
    "moco": (85.2, 83.4, 1.35),
    "mocov3": (85.9, 83.2, 1.4),
    "byol": (84.6, 82.0, 1.4),
    "simsiam": (83.9, 81.1, 1.05),
    "nnclr": (86.1, 84.0, 1.06),
    "all4one": (86.3, 84.2, 1.5),
    "supcon": (90.2, 90.0, 1.0),
}
"""Linear and kNN accuracy of each method, and what it costs, in units of simclr."""
SOURCES = {
    "": (0.0, 0.0, 1.0),
    "view": (0.2, 0.4, 1.5),
    "bank": (0.7, 1.6, 1.5),
    "noise": (-0.1, 0.1, 1.5),
    "random": (-2.4, -3.0, 1.5),
    "nearest": (0.3, 0.8, 1.5),
    "class": (2.1, 3.9, 1.5),
    "extra": (0.1, 0.3, 1.0),
}
"""The same for each source of an additional positive, as differences and a factor."""
FOUR = ["simclr", "simclr+view", "simclr+bank", "nnclr"]
SIXTEEN = [f"simclr{'+' * bool(source)}{source}" for source in SOURCES] + (
    "moco mocov3 byol simsiam nnclr all4one nnclr+bank all4one+bank".split()  # noqa: SIM905
)


def write_comparison(out: Path, arms: list[str], seeds: int, *, baseline: str = "", curves: bool = True) -> Path:
    """Write a comparison of ``arms`` into ``out`` and return it."""
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.25, seeds)
    scores: dict[str, dict[str, dict[int, float]]] = {}
    for arm in arms:
        linear, knn, _ = _expected(arm)
        scores[arm] = {"linear": _runs(linear, luck, rng), "knn": _runs(knn, luck, rng)}
        for seed in range(seeds):
            _write_cell(out / "arms" / arm / f"seed-{seed}", arm, scores[arm]["knn"][seed], rng, curves=curves)
    dump(out / "comparison.json", _collected(arms, seeds, baseline or arms[0], scores))
    _write_recipe(out, arms, seeds)
    write_images(out)
    images, labels = digits()
    write_positives(out, images, labels, rng)
    return out


def _expected(arm: str) -> tuple[float, float, float]:
    method, _, source = arm.partition("+")
    linear, knn, cost = METHODS.get(method, (82.0, 80.0, 1.2))
    more, better, factor = SOURCES.get(source, (0.0, 0.0, 1.0))
    return linear + more, knn + better, cost * factor


def _runs(mean: float, luck: np.ndarray, rng: np.random.Generator) -> dict[int, float]:
    return {seed: round(mean + shared + rng.normal(0, 0.2), 2) for seed, shared in enumerate(luck)}


def _cost(arm: str) -> dict[str, float]:
    factor = _expected(arm)[2]
    made = arm.endswith(("+bank", "+noise", "+extra"))
    return {
        "pretraining_seconds": round(410.0 * factor, 1),
        "generator_seconds": 2510.0 if made else 0.0,
        "pretraining_flops": 3.1e14 * factor,
        "generator_flops": 1.9e15 if made else 0.0,
    }


def _collected(arms: list[str], seeds: int, baseline: str, scores: dict[str, dict[str, dict[int, float]]]) -> dict:
    rows = []
    for arm in arms:
        row: dict = {"arm": arm, "seeds": seeds, "sees_labels": bool({"class", "supcon"} & set(arm.split("+")))}
        row |= {name: interval(list(found.values())).record() for name, found in scores[arm].items()}
        row["cost"] = _cost(arm)
        if arm != baseline:
            gaps = {name: paired(scores[arm][name], scores[baseline][name]) for name in ("linear", "knn")}
            row["versus"] = {baseline: {name: gap.record() for name, gap in gaps.items()}}
        row["runs"] = scores[arm]
        rows.append(row)
    return {"data": "fashion-mnist", "baseline": baseline, "protocols": PROTOCOLS, "arms": rows}


def _write_cell(folder: Path, arm: str, knn: float, rng: np.random.Generator, *, curves: bool) -> None:
    records = []
    for step in sorted({*range(10, 1561, 10), *range(78, 1561, 78)}):
        grown = 1 - math.exp(-step / 300)
        record = {"step": step, "loss": 5 - 2 * grown + rng.normal(0, 0.1), "epoch": step // 39}
        if step % 10 == 0:
            record["effective_rank"] = 14 + (knn - 70) * grown + rng.normal(0, 1.2)
        if step % 78 == 0:
            record["knn"] = 66 + (knn - 67) * grown + rng.normal(0, 0.3)
        records.append(record)
    if curves:
        dump_lines(folder / "metrics.jsonl", records)
    dump(folder / "stage.json", {"stage": f"encoder {arm}", "status": "finished", "seconds": 410.0, "facts": {}})


def _write_recipe(out: Path, arms: list[str], seeds: int) -> None:
    recipe = {
        "recipe": "fashion-mnist",
        "command": f"clsp compare --data fashion-mnist --methods {','.join(arms)} --seeds {seeds} --out {out.name}",
        "versions": {"clsp": "0.1.0", "torch": "2.15.0"},
        "machine": {"cpu_cores": 2},
        "data": {"source": "fashion-mnist", "fingerprint": "0123456789abcdef"},
        "pretrain": {"method": "simclr", "epochs": 40},
    }
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))


if __name__ == "__main__":
    from clsp.report.page import build_report

    root = Path(sys.argv[1])
    print(build_report(write_comparison(root / "many", SIXTEEN, 5)))
    print(build_report(write_comparison(root / "few", FOUR, 5)))
    print(build_report(write_comparison(root / "single", ["simclr", "moco", "simclr+bank"], 1)))
