"""Short trainings whose bytes are known: `python tests/golden.py --add NAME` writes down what an arm gives today.

An arm's name stands for its settings here: `settings_of` adds what a name does not say.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from clsp import files
from clsp.diffusion.training import train_diffusion
from clsp.methods import METHODS
from clsp.positives.bank import PositiveBank
from clsp.positives.synthesize import synthesize
from clsp.recipes.arms import parse_arm
from clsp.recipes.prepare import prepare
from clsp.recipes.recipe import Recipe
from clsp.settings.values import build, merge, nested, plain
from clsp.training.checks import needs_bank
from clsp.training.config import PretrainConfig
from clsp.training.pretrain import pretrain

FILE = Path(__file__).with_name("golden.json")
METHOD_ARMS = tuple(f"{name}{more}" for name in METHODS.names() for more in ("", "+bank+host"))
# moco+pairs is left out: its memory was made to mask the rows of the positive.
OTHER_ARMS = (
    "simclr+bank",
    "simclr+bank+nt_xent",
    "simclr+view",
    "simclr+random",
    "simclr+nearest",
    "simclr+class",
    "simclr+mixture",
    "simclr+mixture+nt_xent",
    "simclr+noise",
    "simclr+extra",
    "simclr+pairs",
    "simclr+pairs+nt_xent",
    "simclr+pairs+host",
)
_EXACT = {name: {"precision": "32"} for name in ("pretrain", "diffusion", "synthesize")}


@dataclass(frozen=True)
class World:
    """What the trainings are made of: the smallest recipe on the built-in digits, with its bank."""

    recipe: Recipe
    images: Any
    bank: PositiveBank
    pairs: Path


def arithmetic() -> str:
    """Name what decides the last bits of a sum: results are the same to the byte where this is the same."""
    vendor = ""
    if Path("/proc/cpuinfo").exists():
        lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
        vendor = next((value.strip() for key, _, value in lines if key.strip() == "vendor_id"), "")
    version = torch.__version__.partition("+")[0]
    return ", ".join(
        filter(None, (f"torch {version}", torch.backends.cpu.get_cpu_capability(), platform.machine(), vendor))
    )


def make_world(folder: Path) -> World:
    """Train the tiny diffusion model and draw its bank."""
    made = prepare("digits", recipe="smoke", overrides=_EXACT)
    recipe, images = made.recipe, made.images
    train_diffusion(images, recipe.diffusion, recipe.hardware, seed=recipe.seed, folder=folder / "diffusion")
    how = (recipe.synthesize, recipe.hardware)
    bank = synthesize(images, folder / "diffusion", *how, seed=recipe.seed, folder=folder / "positives")
    names, pairs = list(images.train.names), folder / "pairs.csv"
    rows = (f"{names[i]},{names[i + 1]},{0.5 if i % 3 else 1.0}\n" for i in range(0, len(names) - 1, 2))
    pairs.write_text("first,second,weight\n" + "".join(rows))
    return World(recipe, images, bank, pairs)


def settings_of(name: str, world: World) -> dict[str, Any]:
    """Return what an arm's name does not say, by dotted names of the section pretrain."""
    found: dict[str, Any] = {"knn_every": 0}
    if name.endswith("+bank+host"):
        found["positive.host.odds"] = 2.0
    if name == "aps+bank+host":
        found["lr"] = (
            1e-3  # at the recipe's rate the last bits of two processors part the losses by a tenth in five steps
        )
    if name.endswith("+mixture+nt_xent"):
        found |= {"positive.third.schedule": "cosine", "positive.third.trim": 0.25}
    if "+pairs" in name:
        found["positive.pairs.file"] = str(world.pairs)
    return found


def train(name: str, world: World, folder: Path) -> dict[str, Any]:
    """Train an arm: the hash of the encoder's weights, BatchNorm's statistics apart, and the losses."""
    recipe, more = world.recipe, settings_of(name, world)
    pretrained = build(PretrainConfig, merge(PretrainConfig, plain(recipe.pretrain), nested(more)), "pretrain.")
    config = replace(recipe, pretrain=pretrained).pretraining(parse_arm(name))
    bank = world.bank if needs_bank(config) else None
    pretrain(world.images, config, recipe.hardware, seed=recipe.seed, folder=folder, bank=bank)
    state, content = load_file(folder / "encoder.safetensors"), hashlib.sha256()
    for key in sorted(state):
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            content.update(key.encode() + state[key].contiguous().numpy().tobytes())
    losses = [line["loss"] for line in files.read_jsonl(folder / "metrics.jsonl")]
    return {"weights": content.hexdigest()[:16], "losses": losses}


def known() -> dict[str, dict[str, Any]]:
    """Read what was written down: by arm and arithmetic."""
    return json.loads(FILE.read_text())


def main() -> None:
    """Write down what arms give on this machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--add", nargs="+", required=True, metavar="NAME", help="arms: simclr simclr+bank+host")
    names = parser.parse_args().add
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder))
        found = {name: train(name, world, Path(folder) / "arms" / name) for name in names}
    before = known() if FILE.exists() else {}
    entries = before | {name: before.get(name, {}) | {arithmetic(): one} for name, one in found.items()}
    FILE.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
