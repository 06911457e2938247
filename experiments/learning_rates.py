"""Choose a learning rate for each method, on validation images.

    python experiments/learning_rates.py --work WORK --out results/claim/fashion-mnist/learning-rates

Each method is trained alone (no additional positive) with one seed at every rate of RATES, with the recipe
experiments/fashion-mnist.yaml. The best linear accuracy on the validation images decides; the test images are not
looked at. The accuracies of a training are a file in OUT; where it lies there the training is not repeated, also
without WORK, the encoders. OUT/chosen.json holds them all. Several processes share the work: --part 0/2 and --part 1/2.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from clsp import files

METHODS = ("simclr", "nnclr", "all4one", "byol", "moco")
RATES = (0.24, 0.12, 0.48, 0.96)
RECIPE = Path(__file__).with_name("fashion-mnist.yaml")


def train(method: str, rate: float, folder: Path) -> dict[str, float]:
    """Train and rate one encoder with the command that a user would type; return its accuracies in percent."""
    words = ["--data", "fashion-mnist", "--recipe", str(RECIPE), "--methods", method, "--seeds", "1"]
    subprocess.run(
        [
            sys.executable, "-m", "clsp", "compare", *words, "--pretrain.lr", str(rate),
            "--evaluate.validation_images", "10000", "--out", str(folder),
        ],
        check=True,
    )  # fmt: skip
    arm = files.read_json(folder / "comparison.json")["arms"][0]
    return {score: arm[score]["mean"] for score in ("linear", "knn")}


def collect(out: Path) -> dict[str, Any]:
    """Return the accuracies by method and rate, and each method's best rate: None until all were tried."""
    found: dict[str, Any] = {}
    for method in METHODS:
        paths = {rate: out / f"{method}-{rate:g}.json" for rate in RATES}
        rates = {rate: files.read_json(path) for rate, path in paths.items() if path.exists()}
        if rates:
            best = max(rates, key=lambda rate: rates[rate]["linear"]) if len(rates) == len(RATES) else None
            found[method] = {"best": best, "rates": rates}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the encoders")
    parser.add_argument("--out", type=Path, required=True, help="what was found")
    parser.add_argument("--part", default="0/1", help="I/N: this process takes every N-th training")
    options = parser.parse_args()
    number, parts = map(int, options.part.split("/"))
    for method, rate in [(method, rate) for rate in RATES for method in METHODS][number::parts]:
        path = options.out / f"{method}-{rate:g}.json"
        if not path.exists():
            files.write_json(path, train(method, rate, options.work / method / f"{rate:g}"))
        files.write_json(options.out / "chosen.json", collect(options.out))


if __name__ == "__main__":
    main()
