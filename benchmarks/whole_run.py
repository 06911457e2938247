"""A whole `clsp run --data fashion-mnist`: as it was before its generator and stages were made cheaper, and as it is.

    python benchmarks/whole_run.py --json studies/benchmarks/result.json

Such a run takes one to many hours. So each stage is run short, twice, with counts that differ, and the line through
both times is followed to the recipe's own count; the evaluation is run whole. Both sides take turns, by the commands
that a user would type, in processes of their own; what was before is a checkout of commit BEFORE.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from harness import Result, arguments, call, finish, spread

from clsp import files

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "21c8865"
RECIPE = "src/clsp/recipes/fashion-mnist.yaml"
SEEN, ANCHORS, EPOCHS = (512, 1536), (64, 256), (4, 12)
"""Images that the diffusion model sees, anchors, epochs: counts of the two short runs of a stage. The arms train on as
many images as the larger bank has anchors."""


@dataclass(frozen=True)
class Version:
    """A checkout, and where it works."""

    tree: Path
    work: Path

    @property
    def recipe(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.tree / RECIPE).read_text())
        return found

    def clsp(self, command: str, *words: object) -> None:
        environment = {**os.environ, "PYTHONPATH": str(self.tree / "src")}
        line = [sys.executable, "-m", "clsp", command, "--data", "fashion-mnist", *map(str, words)]
        call(line, env=environment, cwd=self.work)

    def made(self, command: str, name: str, *words: object) -> float:
        """Run a stage anew and return its own clock's seconds."""
        out = self.work / name
        shutil.rmtree(out, ignore_errors=True)
        self.clsp(command, "--recipe", self.tree / RECIPE, "--out", out, *words)
        seconds = float(files.read_json(out / "stage.json")["seconds"])
        print(f"{self.work.name}: {command} {' '.join(map(str, words[-2:]))}: {seconds:.1f} s", file=sys.stderr)
        return seconds

    def diffusion(self, steps: int) -> float:
        return self.made("diffusion", "diffusion", "--diffusion.steps", steps, "--diffusion.warmup_steps", 1)

    def bank(self, anchors: int) -> float:
        given = ("--diffusion", self.work / "diffusion", "--synthesize.anchors", anchors)
        return self.made("synthesize", "positives", *given)

    def arm(self, epochs: int, *more: object) -> float:
        given = ("--pretrain.images", ANCHORS[1], "--pretrain.epochs", epochs, "--pretrain.warmup_epochs", 1)
        return self.made("pretrain", "encoder", *given, *more)

    def evaluation(self) -> float:
        begin = time.perf_counter()
        self.clsp("evaluate", "--recipe", self.tree / RECIPE, "--encoder", self.work / "encoder")
        return time.perf_counter() - begin

    def minutes(self) -> dict[str, float]:
        """Minutes of each stage of the whole run, from its short ones."""
        own = self.recipe
        steps = tuple(seen // own["diffusion"]["batch_size"] for seen in SEEN)
        batches, short = (count // own["pretrain"]["batch_size"] for count in (own["pretrain"]["images"], ANCHORS[1]))
        epochs = own["pretrain"]["epochs"] * batches / short  # as many steps, of the short run's epochs
        bank = ("--positives", self.work / "positives")
        seconds = {
            "diffusion model": followed(self.diffusion, steps, own["diffusion"]["steps"]),
            "bank": followed(self.bank, ANCHORS, own["synthesize"]["anchors"]),
            "simclr": followed(self.arm, EPOCHS, epochs),
            "simclr+view": followed(lambda n: self.arm(n, "--positives", "view"), EPOCHS, epochs),
            "simclr+bank": followed(lambda n: self.arm(n, *bank), EPOCHS, epochs),
            "evaluation": 3 * self.evaluation(),
        }
        return {name: value / 60 for name, value in seconds.items()}


def followed(run: Callable[[int], float], counts: tuple[int, ...], count: float) -> float:
    """Follow the line through the times of two counts to ``count``; the larger one is run last."""
    few, many = (run(n) for n in counts)
    return many + (many - few) / (counts[1] - counts[0]) * (count - counts[1])


def median(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Every stage's median, and what they add to."""
    stages = {name: round(statistics.median(r[name] for r in rounds), 1) for name in rounds[0]}
    return {**stages, "all": round(statistics.median(sum(r.values()) for r in rounds), 1)}


def whole_run(rounds: int) -> Result:
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "before"
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", tree, BEFORE], check=True)
        try:
            sides = [Version(tree, Path(name) / "theirs"), Version(ROOT, Path(name) / "ours")]
            for side in sides:
                side.work.mkdir()
            taken = [[side.minutes() for side in sides] for _ in range(rounds)]
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", tree], check=True)
    theirs, ours = ([pair[side] for pair in taken] for side in (0, 1))
    before, now = median(theirs), median(ours)
    return spread(
        "a whole clsp run --data fashion-mnist, against the one before",
        1.0,
        [sum(first.values()) / sum(second.values()) for first, second in taken],
        ours=f"{now['all']:.0f} min",
        theirs=f"{before['all']:.0f} min",
        quality={"minutes, ours": now, "minutes, before": before},
    )


if __name__ == "__main__":
    options = arguments(__doc__)
    finish([whole_run(options.rounds)], options.json)
