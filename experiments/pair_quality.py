"""How many mined pairs are right, and how many images have one: precision and coverage of every list of pairs.

    python experiments/pair_quality.py WORK/pairs-*.csv --data fashion-mnist --out studies/pairs/quality.json

WORK is that of experiments/grids/pairs.yaml: WORK/pairs-90-0.csv holds the pairs from 0.9 of seed 0, among the images
that the plan's limit leaves.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from clsp import files
from clsp.evaluation.statistics import interval
from clsp.recipes.prepare import prepare
from clsp.settings.values import nested


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, nargs="+")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--limit", type=int, default=5000, help="train images that were looked at")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {}
    for path in sorted(given.lists):
        name, _, seed = path.stem.rpartition("-")
        options = {"images.limit": given.limit, "seed": int(seed)}
        train = prepare(given.data, overrides=nested(options)).images.train
        assert train.labels is not None
        label = dict(zip(train.names, train.labels.tolist(), strict=True))
        with path.open(newline="", encoding="utf-8") as file:
            pairs = [(row["first"], row["second"]) for row in csv.DictReader(file)]
        mine = found.setdefault(name, {"precision": [], "coverage": []})
        mine["precision"].append(100 * sum(label[a] == label[b] for a, b in pairs) / len(pairs))
        mine["coverage"].append(100 * len({image for pair in pairs for image in pair}) / len(label))
    table = {name: {key: interval(values).record() for key, values in one.items()} for name, one in found.items()}
    files.write_json(given.out, table)
    for name, one in table.items():
        print(name, *(f"{key} {value['mean']:.1f} %" for key, value in one.items()))


if __name__ == "__main__":
    main()
