"""Does the claim hold with networks of the paper's size? In pieces of minutes, for a GPU that is lent for minutes.

    python experiments/paper_scale.py --work WORK --state STATE --minutes 8.5
    python experiments/paper_scale.py --work WORK --state STATE --tiny

WORK may be lost between the calls. STATE is all that has to be kept: result.json, and the generator's weights, rounded
to 16 bit, in files below 16 MB. The bank is drawn again from them by each call, which takes seconds, and is the same
one. An encoder that is not finished when the time is over is begun again by the next call.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from clsp import console, files
from clsp.diffusion.training import train_diffusion
from clsp.engine.course import Pace
from clsp.evaluation.statistics import interval, paired
from clsp.positives.bank import PositiveBank
from clsp.recipes.arms import parse_arm
from clsp.recipes.prepare import Prepared, prepare
from clsp.study.stages import bank_stage, evaluate_stage
from clsp.training.checks import needs_bank
from clsp.training.pretrain import pretrain

ARMS = ("simclr", "simclr+view", "nnclr", "simclr+bank", "simclr+bank+nt_xent", "simclr+bank+host")
MEASURES = ("linear", "knn")
GENERATOR = 300.0
"""Seconds of the generator's training."""
ROOM = 15_000_000
"""Bytes of a file of STATE."""
WEIGHTS = Path("unet") / "diffusion_pytorch_model.safetensors"


@dataclass
class Piece:
    """One call: its places, and the time that it has."""

    prepared: Prepared
    work: Path
    state: Path
    seconds: float
    seeds: int
    generator: float

    def __post_init__(self) -> None:
        self._begin = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds."""
        return self.seconds - (time.monotonic() - self._begin)

    @property
    def result(self) -> dict[str, Any]:
        """What was measured so far."""
        path = self.state / "result.json"
        return files.read_json(path) if path.exists() else {"runs": {}}

    def bank(self) -> PositiveBank:
        """Draw the bank from the generator of STATE, which is trained where it is not there."""
        if not list(self.state.glob("generator-*.safetensors")):
            train_generator(self)
        model = self.work / "generator"
        restore(self.state, model)
        return bank_stage(self.prepared, model, self.work / "bank")


def train_generator(piece: Piece) -> None:
    """Train it for its time, and keep it."""
    made, folder = piece.prepared, piece.work / "diffusion"
    recipe, pace = made.recipe, Pace(seconds=piece.generator)
    train_diffusion(made.images, recipe.diffusion, recipe.hardware, seed=recipe.seed, folder=folder, pace=pace)
    keep(folder, piece.state)


def keep(model: Path, state: Path) -> None:
    """Write the weights in 16 bit, in files that are small enough, and what stands beside them."""
    parts, size = [dict[str, torch.Tensor]()], 0
    for name, value in load_file(model / WEIGHTS).items():
        half = value.half().contiguous()
        if size + half.nbytes > ROOM:
            parts, size = [*parts, {}], 0
        parts[-1][name], size = half, size + half.nbytes
    for name in ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json"):
        files.write_json(state / name.replace("/", "."), files.read_json(model / name))
    for number, part in enumerate(parts):
        save_file(part, state / f"generator-{number}.safetensors")


def restore(state: Path, model: Path) -> None:
    """Put the generator's folder together again."""
    shutil.rmtree(model, ignore_errors=True)
    for name in ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json"):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_json(model / name, files.read_json(state / name.replace("/", ".")))
    parts = [load_file(path) for path in sorted(state.glob("generator-*.safetensors"))]
    whole = {name: value.float() for part in parts for name, value in part.items()}
    save_file(whole, model / WEIGHTS, metadata={"format": "pt"})


def train(piece: Piece, arm: str, seed: int, bank: PositiveBank) -> dict[str, Any]:
    """Train and evaluate an encoder; what it reached, and its seconds."""
    made, folder = piece.prepared, piece.work / f"{arm}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    begin, config = time.monotonic(), made.recipe.pretraining(parse_arm(arm))
    given: dict[str, Any] = {
        "bank": bank if needs_bank(config) else None,
        "anchors": bank.ids,
    }  # the same images for all arms and seeds
    pretrain(made.images, config, made.recipe.hardware, seed=seed, folder=folder, **given)
    found = evaluate_stage(folder, made)
    shutil.rmtree(folder)
    values = {name: found[name].value for name in MEASURES}
    return {**values, "seconds": round(time.monotonic() - begin, 1), "card": card()}


def card() -> str:
    """The GPU's name."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def go_on(piece: Piece) -> None:
    """Train what is missing, seed by seed, as long as there is time for one more."""
    bank, longest = piece.bank(), 0.0
    for seed in range(piece.seeds):
        for arm in ARMS:
            found = piece.result
            if str(seed) in found["runs"].get(arm, {}):
                continue
            if piece.left < 1.15 * longest or piece.left < 0:
                console.say(f"paper scale: {piece.left:.0f} s are left, too few for one more encoder; call again")
                return
            one = train(piece, arm, seed, bank)
            longest = max(longest, one["seconds"])
            found["runs"].setdefault(arm, {})[str(seed)] = one
            files.write_json(piece.state / "result.json", {**found, "table": table(found["runs"])})
            console.say(f"paper scale: {arm}, seed {seed}: {one}")


def table(runs: dict[str, Any]) -> dict[str, Any]:
    """Means with intervals, and the differences to the method alone, paired by seed."""
    found: dict[str, Any] = {}
    for arm, seeds in runs.items():
        for name in MEASURES:
            mine = {seed: one[name] for seed, one in seeds.items()}
            others = {seed: one[name] for seed, one in runs.get("simclr", {}).items()}
            gap = paired(mine, others) if arm != "simclr" else None
            found.setdefault(arm, {})[name] = {
                **interval(list(mine.values())).record(),
                "versus_simclr": gap.record() if gap else None,
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--work", "--state"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--minutes", type=float, default=8.5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="the digits and the recipe smoke: it tests the script")
    given = parser.parse_args()
    given.state.mkdir(parents=True, exist_ok=True)
    if given.tiny:
        made = prepare("digits", recipe="smoke", overrides={"synthesize": {"gate": "off"}})
    else:
        made = prepare(given.data, recipe="experiments/paper-scale.yaml", store=given.work / "images")
    seconds = GENERATOR if not given.tiny else 5.0
    go_on(Piece(made, given.work, given.state, 60 * given.minutes, given.seeds, seconds))


if __name__ == "__main__":
    main()
