"""Draw what the study of stability found: the length of the centre against kNN, epoch by epoch.

    python experiments/centres.py studies/stability studies/stability/curves.svg

One dot is an epoch, the mean over the seeds; the last one is dark and named. Says how kNN goes with the centre's length
at the end, over all trainings.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

from figure import Mark, Panel, estimates_over, sheet
from grid import cells_of
from scipy.stats import spearmanr

from clsp import files
from clsp.report.charts import Estimate

PANELS = {
    "alignment and the centre's weight": ("alignment alone", "centre 0.3", "centre 1", "centre 10"),
    "SimSiam": (
        "SimSiam",
        "SimSiam without predictor",
        "SimSiam without stopped gradient",
        "SimSiam without both",
    ),
    "BYOL": ("BYOL momentum 0", "BYOL momentum 0.99", "BYOL momentum 1"),
    "SwAV and Barlow Twins": (
        "SwAV",
        "SwAV with fixed prototypes",
        "Barlow",
        "Barlow without off-diagonal",
    ),
    "with negatives": ("SimCLR", "NNCLR"),
    "others": ("VICReg", "ReSSL", "DINO"),
}
Run = dict[str, Any]


def pairs(run: Run) -> list[tuple[float, float]]:
    """The centre's length and kNN, in percent, after each epoch."""
    centres, found = run["curves"]["center_norm"], []
    for step, knn in run["curves"]["knn"]:
        before = [value for at, value in centres if at <= step]
        found.append((before[-1], knn))
    return found


def course(runs: list[Run], row: str) -> list[tuple[float, float]]:
    """The mean over the seeds, epoch by epoch."""
    every = [pairs(run) for run in runs if run["row"] == row]
    return [(fmean(x for x, _ in epoch), fmean(y for _, y in epoch)) for epoch in zip(*every)]


def panel(runs: list[Run], title: str, rows: tuple[str, ...]) -> Panel:
    """The courses of some rows; the last epoch has its name and is the darkest."""
    marks = []
    for number, row in enumerate(rows):
        points = course(runs, row)
        for epoch, (centre, knn) in enumerate(points, 1):
            last = epoch == len(points)
            told = Estimate(f"{row}, epoch {epoch}: centre {centre:.2f}, kNN", f"arm-{number}", knn, None, None)
            marks.append(Mark(centre, told, _short(row, title) if last else "", 1.0 if last else 0.35))
    label = "length of the centre"
    return Panel(title, estimates_over(marks, (-0.05, 1.05), (35.0, 80.0), label=title, x_label=label, joined=True))


def together(runs: list[Run]) -> float:
    """Spearman's correlation of kNN with the length of the centre, at the end of every training."""
    found = spearmanr(*([run["values"][name] for run in runs] for name in ("center_norm", "knn")))
    return float(found.statistic)


def _short(row: str, title: str) -> str:
    """A row's name without what the panel's title says."""
    return row.removeprefix(title).strip().removeprefix("momentum").strip() or row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    runs = cells_of(options.study)
    panels = [panel(runs, title, rows) for title, rows in PANELS.items()]
    files.write_text(options.out, sheet(panels, label="kNN in percent over the length of the centre", columns=3))
    print(f"Spearman's correlation over the {len(runs)} trainings is {together(runs):.2f}")


if __name__ == "__main__":
    main()
