"""Choose a learning rate for each arm, on validation images.

    python experiments/learning_rates.py --work WORK --name small-encoder
    python experiments/learning_rates.py --work WORK --name recipe \
        --recipe fashion-mnist --arms simclr,simclr+bank,simclr+view --rates 0.24,0.48,0.96 --positives BANK

The first is of methods alone, with the recipe experiments/fashion-mnist.yaml; the second of SimCLR, alone and with an
additional positive, with the recipe fashion-mnist. Each arm is trained with one seed at every rate. The best linear
accuracy on the validation images decides; the test images are not looked at. The accuracies go to studies/tuning, to
the part of result.json that is called so; a rate that stands there is not tried again, also without WORK, the encoders.
Several processes share the work: --part 0/2 and --part 1/2.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

from trials import measured, of_part

from clsp import files

ARMS = "simclr,nnclr,all4one,byol,moco"
RATES = "0.24,0.12,0.48,0.96"
RECIPE = Path(__file__).with_name("fashion-mnist.yaml")
STUDY = Path(__file__).parents[1] / "studies" / "tuning"


def train(arm: str, rate: float, folder: Path, recipe: str, more: dict[str, str]) -> dict[str, float]:
    """Train and rate one encoder with the command that a user would type; return its accuracies in percent."""
    words = {"data": "fashion-mnist", "recipe": recipe, "methods": arm, "pretrain.lr": rate, **more}
    found = measured({**words, "evaluate.validation_images": 10_000}, folder)
    return {score: found[score] for score in ("linear", "knn")}


def known(path: Path, name: str) -> dict[str, Any]:
    """The arms of the part ``name`` with their rates, from result.json; empty where it has none."""
    parts = files.read_json(path)["parts"] if path.exists() else {}
    found: dict[str, Any] = parts.get(name, {})
    return found


def put(path: Path, name: str, arm: str, found: dict[float, dict[str, float]], every: list[float]) -> None:
    """Add accuracies of an arm to result.json; its best rate is None until all were tried."""
    result = files.read_json(path) if path.exists() else {"parts": {}}
    part = result["parts"].setdefault(name, {})
    rates = {**part.get(arm, {}).get("rates", {}), **{str(rate): scores for rate, scores in found.items()}}
    tried = all(str(rate) in rates for rate in every)
    best = float(max(rates, key=lambda rate: rates[rate]["linear"])) if tried else None
    part[arm] = {"best": best, "rates": rates}
    files.write_json(path, result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the encoders")
    parser.add_argument("--name", required=True, help="the study's part that is made or gone on with")
    parser.add_argument("--out", type=Path, default=STUDY, help="the study")
    parser.add_argument("--recipe", default=str(RECIPE))
    parser.add_argument("--arms", default=ARMS)
    parser.add_argument("--rates", default=RATES)
    parser.add_argument("--positives", help="the bank of the arms that need one")
    parser.add_argument("--part", default="0/1", help="I/N: this process takes every N-th training")
    options = parser.parse_args()
    arms, rates = options.arms.split(","), [float(rate) for rate in options.rates.split(",")]
    more = {"positives": options.positives} if options.positives else {}
    path = options.out / "result.json"
    for rate, arm in of_part(itertools.product(rates, arms), options.part):
        if str(rate) not in known(path, options.name).get(arm, {}).get("rates", {}):
            scores = train(arm, rate, options.work / arm / f"{rate:g}", options.recipe, more)
            put(path, options.name, arm, {rate: scores}, rates)


if __name__ == "__main__":
    main()
