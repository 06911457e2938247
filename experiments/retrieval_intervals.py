"""How wide is the interval of a difference in retrieval: over the queries alone, and over the images by the jackknife?

    python experiments/retrieval_intervals.py --out studies/retrieval-intervals/result.json WORK/openclipart-2h-0 ...

Two made encoders of known images are compared on many sets of test images, and it is counted how often each interval
holds the true difference. Then both intervals are computed of finished runs, whose folders are given: their names begin
with the data that `clsp` opens (experiments/timed.py writes them).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clsp import files
from clsp.evaluation.evaluators.retrieval import average_precisions
from clsp.evaluation.measure import difference
from clsp.evaluation.task import make_task
from clsp.evaluation.trained import Encoder
from clsp.recipes.prepare import prepare

SETS, DIRECTIONS = 300, 16
"""Sets of test images, and width of the made features."""
CASES = ((355, 10, 1.5), (355, 10, 3.0), (200, 2, 3.0))
"""Test images, classes, and the deviation of features around the centre of their class."""
MAIN, PLAIN = "simclr+bank", ("simclr", "simclr+view")

Gaps = dict[str, dict[str, float]]


def gaps(features: tuple[Tensor, Tensor], labels: Tensor) -> Gaps:
    """The difference of two encoders' mean average precision, with both intervals."""
    rows = (torch.bincount(labels)[labels] > 1).nonzero()[:, 0]
    first, second = (average_precisions(some, labels, rows) for some in features)
    return {
        "queries": difference(first.queries.numpy(), second.queries.numpy()),
        "images": difference(first.of_images(rows).numpy(), second.of_images(rows).numpy()),
    }


def simulated(images: int, classes: int, noise: float) -> dict[str, float]:
    """How often each interval holds the mean difference of all sets, in percent, and how wide it is on average."""
    rng = np.random.default_rng(0)
    centres, found = rng.normal(size=(2, classes, DIRECTIONS)), list[Gaps]()
    for _ in range(SETS):
        labels = rng.integers(0, classes, images)
        first, second = (
            torch.from_numpy(one[labels] + noise * rng.normal(size=(images, DIRECTIONS))).float() for one in centres
        )
        found.append(gaps((first, second), torch.from_numpy(labels)))
    true = float(np.mean([gap["queries"]["mean"] for gap in found]))
    told: dict[str, float] = {"images": images, "classes": classes, "noise": noise, "difference": round(true, 2)}
    for name in ("queries", "images"):
        held = np.mean([gap[name]["low"] <= true <= gap[name]["high"] for gap in found])
        width = np.mean([gap[name]["high"] - gap[name]["low"] for gap in found])
        told |= {f"held by {name}": round(100 * float(held), 1), f"width by {name}": round(float(width), 2)}
    return told


def of_run(folder: Path) -> list[dict[str, Any]]:
    """Both intervals of what the arm with the bank gains in a finished run."""
    data = folder.name.rsplit("-", 2)[0]  # NAME-TIME-SEED
    prepared = prepare(data, recipe=str(folder / "recipe.yaml"))
    task = make_task(prepared.images, prepared.recipe.evaluate, seed=prepared.recipe.seed)
    labels = torch.from_numpy(np.asarray(task.test.labels))
    seed = f"seed-{prepared.recipe.seed}"
    features = {arm: Encoder(folder / "arms" / arm / seed, task).test for arm in (MAIN, *PLAIN)}
    rows = []
    for other in PLAIN:
        found = gaps((features[MAIN], features[other]), labels)
        width = {name: gap["high"] - gap["low"] for name, gap in found.items()}
        ratio = round(width["images"] / width["queries"], 2)
        rows.append({"run": folder.name, "against": other, **found, "times": ratio})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="*", help="folders of finished runs")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    made = {
        "simulated": [simulated(*case) for case in CASES],
        "runs": [row for run in given.runs for row in of_run(run)],
    }
    files.write_json(given.out, made)


if __name__ == "__main__":
    main()
