"""Choose a learning rate for each method, on validation images.

    python experiments/learning_rates.py --work rates --json results/claim/fashion-mnist/learning-rates.json

Each method is trained alone (no additional positive) with one seed at every rate of RATES, at the size of the claim's
experiment. The best linear accuracy on the validation images decides; the test images are not looked at. What is
finished is not repeated. Several processes share the work: --part 0/2 and --part 1/2.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

METHODS = ("simclr", "nnclr", "all4one", "byol", "moco", "mocov3", "simsiam", "supcon")
RATES = (0.06, 0.12, 0.24, 0.48)
SIZE = ("--pretrain.images", "5000", "--pretrain.epochs", "60", "--evaluate.validation_images", "10000")


def train(method: str, rate: float, folder: Path) -> None:
    """Train and rate one encoder with the commands that a user would type."""
    words = ["--data", "fashion-mnist", "--recipe", "fashion-mnist", "--methods", method, "--seeds", "1"]
    subprocess.run(
        [sys.executable, "-m", "clsp", "compare", *words, *SIZE, "--pretrain.lr", str(rate), "--out", str(folder)],
        check=True,
    )


def collect(work: Path) -> dict[str, dict[str, Any]]:
    """Return the accuracies by method and rate, and the best rate of each method."""
    found: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        paths = {rate: work / method / f"{rate:g}" / "comparison.json" for rate in RATES}
        arms = {rate: json.loads(path.read_text())["arms"][0] for rate, path in paths.items() if path.exists()}
        if arms:
            rates = {rate: {score: arm[score]["mean"] for score in ("linear", "knn")} for rate, arm in arms.items()}
            found[method] = {"best": max(rates, key=lambda rate: rates[rate]["linear"]), "rates": rates}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the encoders")
    parser.add_argument("--json", type=Path, required=True, help="what was found")
    parser.add_argument("--part", default="0/1", help="I/N: this process takes every N-th training")
    options = parser.parse_args()
    number, parts = map(int, options.part.split("/"))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    for method, rate in [(method, rate) for rate in RATES for method in METHODS][number::parts]:
        train(method, rate, options.work / method / f"{rate:g}")
        temporary = options.json.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(collect(options.work), indent=1) + "\n")
        temporary.replace(options.json)


if __name__ == "__main__":
    main()
