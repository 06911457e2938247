"""Memory and start: what grows with the number of images, and how long the first answer takes.

Each measurement is a process of its own, so that its peak of resident memory is its own. Images and bank are
memory-mapped files, as when they do not fit on the device: with 60,000 anchors a process may need at most 50 MB more
than with 10,000. The U-Net and the encoder are small, so that all anchors are gone through in seconds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import Result, arguments, call, finish, single, spread

FEW, MANY, SIDE = 10_000, 60_000, 28
ALLOWED = 50e6
HELP = 0.5

RECIPE = f"""
images: {{size: {SIDE}}}
diffusion:
  {{widths: [4, 8], blocks: 1, attention: [], norm_groups: 4, steps: 2, batch_size: 16, warmup_steps: 1}}
synthesize:
  {{candidates: 4, steps: 1, strength: 0.5, start: other, eta: 0.0, interpolation_weight: 1.0, batch_size: 512}}
pretrain:
  backbone: {{args: {{layers: [1, 1, 1, 1], channels: [4, 4, 8, 8], stem_type: deep, stem_width: 2}}}}
  projector: {{hidden: 32, dim: 16}}
  augment: {{size: 8}}
  epochs: 1
  batch_size: 500
  warmup_epochs: 0.5
"""

CHILD = """
import resource, sys
from clsp.engine.pixels import Pixels
Pixels.LIMIT = 0  # as if nothing fitted on the device
from clsp.cli.main import dispatch
status = dispatch(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)
sys.exit(status)
"""


def peak(*command: object) -> float:
    """Run ``clsp COMMAND`` and return its peak of resident memory in bytes."""
    words = [sys.executable, "-c", CHILD, *map(str, command)]
    return float(call(words, timeout=900).strip().splitlines()[-1])


def peaks(folder: Path, count: int) -> dict[str, float]:
    """Peak memory of drawing a bank for ``count`` anchors, and of an epoch of training with it."""
    images, bank = folder / f"{count}.npy", folder / f"bank-{count}"
    np.save(images, np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8))
    common = ("--data", images, "--recipe", folder / "recipe.yaml")
    peak("diffusion", *common, "--out", folder / f"diffusion-{count}")
    return {
        "generation": peak("synthesize", *common, "--diffusion", folder / f"diffusion-{count}", "--out", bank),
        "pretraining": peak("pretrain", *common, "--positives", bank, "--out", folder / f"encoder-{count}"),
    }


def memory() -> list[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "recipe.yaml").write_text(RECIPE)
        few, many = peaks(folder, FEW), peaks(folder, MANY)
    results = []
    for stage, low in few.items():
        grown = max(many[stage] - low, 1e6)
        results.append(
            single(
                f"memory of {stage}: 50 MB over its growth from {FEW:,} to {MANY:,} anchors",
                1.0,
                ALLOWED / grown,
                ours=f"{low / 1e6:.0f} MB, then {many[stage] / 1e6:.0f} MB",
                theirs=f"{(MANY - FEW) * SIDE * SIDE * 5 / 1e6:.0f} MB more images and candidates on the disk",
            )
        )
    return results


def start(rounds: int) -> list[Result]:
    """How long `clsp --help` takes, and how long it is from the command to the first step of a training."""
    helps, firsts = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "clsp", "--help"], check=True, capture_output=True)
        helps.append(time.perf_counter() - begin)
        firsts.append(first_step())
    return [
        spread(
            "clsp --help, half a second over its time",
            1.0,
            [HELP / seconds for seconds in helps],
            ours=f"{statistics.median(helps) * 1e3:.0f} ms",
            quality={
                "from the command to the first logged step of clsp pretrain": f"{statistics.median(firsts):.1f} s"
            },
        )
    ]


def first_step() -> float:
    """Seconds from the start of `clsp pretrain --data digits` to the first line of its log."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "encoder" / "metrics.jsonl"
        command = ["pretrain", "--data", "digits", "--recipe", "smoke", "--out", str(log.parent)]
        begin = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "clsp", *command],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        while not log.exists() and child.poll() is None:
            time.sleep(0.01)
        seconds = time.perf_counter() - begin
        child.wait()
    return seconds


def main() -> None:
    options = arguments(__doc__ or "")
    finish([*memory(), *start(options.rounds)], options.json)


if __name__ == "__main__":
    main()
