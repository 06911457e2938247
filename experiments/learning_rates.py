"""Choose a learning rate for each arm, on validation images.

    python experiments/learning_rates.py --work WORK --out results/claim/fashion-mnist/learning-rates
    python experiments/learning_rates.py --work WORK --out results/claim/fashion-mnist/learning-rates-recipe \
        --recipe fashion-mnist --arms simclr,simclr+bank,simclr+view --rates 0.24,0.48,0.96 --positives BANK

The first is of methods alone, with the recipe experiments/fashion-mnist.yaml; the second of SimCLR, alone and with an
additional positive, with the recipe fashion-mnist. Each arm is trained with one seed at every rate. The best linear
accuracy on the validation images decides; the test images are not looked at. The accuracies of a training are a file in
OUT; where it lies there the training is not repeated, also without WORK, the encoders. OUT/chosen.json holds them all.
Several processes share the work: --part 0/2 and --part 1/2.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from clsp import files

ARMS = "simclr,nnclr,all4one,byol,moco"
RATES = "0.24,0.12,0.48,0.96"
RECIPE = Path(__file__).with_name("fashion-mnist.yaml")


def train(arm: str, rate: float, folder: Path, recipe: str, more: list[str]) -> dict[str, float]:
    """Train and rate one encoder with the command that a user would type; return its accuracies in percent."""
    words = ["--data", "fashion-mnist", "--recipe", recipe, "--methods", arm, "--seeds", "1", *more]
    subprocess.run(
        [
            sys.executable, "-m", "clsp", "compare", *words, "--pretrain.lr", str(rate),
            "--evaluate.validation_images", "10000", "--out", str(folder),
        ],
        check=True,
    )  # fmt: skip
    found = files.read_json(folder / "comparison.json")["arms"][0]
    return {score: found[score]["mean"] for score in ("linear", "knn")}


def collect(out: Path, arms: list[str], every: list[float]) -> dict[str, Any]:
    """Return the accuracies by arm and rate, and each arm's best rate: None until all were tried."""
    found: dict[str, Any] = {}
    for arm in arms:
        paths = {rate: out / f"{arm}-{rate:g}.json" for rate in every}
        rates = {rate: files.read_json(path) for rate, path in paths.items() if path.exists()}
        if rates:
            best = max(rates, key=lambda rate: rates[rate]["linear"]) if len(rates) == len(every) else None
            found[arm] = {"best": best, "rates": rates}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the encoders")
    parser.add_argument("--out", type=Path, required=True, help="what was found")
    parser.add_argument("--recipe", default=str(RECIPE))
    parser.add_argument("--arms", default=ARMS)
    parser.add_argument("--rates", default=RATES)
    parser.add_argument("--positives", help="the bank of the arms that need one")
    parser.add_argument("--part", default="0/1", help="I/N: this process takes every N-th training")
    options = parser.parse_args()
    arms, rates = options.arms.split(","), [float(rate) for rate in options.rates.split(",")]
    more = ["--positives", options.positives] if options.positives else []
    number, parts = map(int, options.part.split("/"))
    for arm, rate in [(arm, rate) for rate in rates for arm in arms][number::parts]:
        path = options.out / f"{arm}-{rate:g}.json"
        if not path.exists():
            files.write_json(path, train(arm, rate, options.work / arm / f"{rate:g}", options.recipe, more))
        files.write_json(options.out / "chosen.json", collect(options.out, arms, rates))


if __name__ == "__main__":
    main()
