"""Steps of a run beside other work: how long they take by threads and by the way in which threads wait for each other.

    python benchmarks/busy.py --json studies/benchmarks/result.json

The three steps of the recipe `digits` (the U-Net's training, its drawing, the encoder's training) are timed in
processes of their own, alone and beside other Python processes that do nothing but keep a core busy. Rows are the
threads of torch and what libgomp, torch's OpenMP on Linux, was told about waiting. A wall time, in ms, stands beside
the processor's time; what else the machine did meanwhile is written down with them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import psutil
from harness import arguments, machine, put

WAITING: dict[str, dict[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spins 0": {"GOMP_SPINCOUNT": "0"},
    "spins 1000": {"GOMP_SPINCOUNT": "1000"},
    "spins 10000": {"GOMP_SPINCOUNT": "10000"},
}
"""What the environment says about threads that wait, by name."""
KINDS = ("wall", "least", "processor")
"""Times of a step: mean and least of the wall clock, mean of the processor's."""
SECONDS = 2.0
"""Of each step, after a few that are not counted."""


@contextmanager
def kept_busy(cores: int) -> Iterator[None]:
    """Keep so many cores busy with other work."""
    workers = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def steps() -> dict[str, Callable[[], object]]:
    """The three steps of the recipe, ready to be taken."""
    import torch

    from clsp.diffusion.interpolation import interpolated_noise
    from clsp.diffusion.training import DiffusionTraining
    from clsp.engine.heap import keep_heap
    from clsp.engine.pixels import Pixels
    from clsp.preflight.blank import blank_training
    from clsp.recipes.prepare import prepare

    keep_heap()
    prepared = prepare("digits")
    recipe, images = prepared.recipe, prepared.images
    diffusion = DiffusionTraining(recipe.diffusion, Pixels(images.train.images), seed=0)
    encoder = blank_training(images, len(images.train), recipe.pretrain)
    count = recipe.synthesize.batch_size
    x = torch.randn(count, images.channels, *[diffusion.unet.config.sample_size] * 2)

    def draw() -> None:
        with torch.no_grad():
            interpolated_noise(diffusion.unet, x, x[:: recipe.synthesize.candidates], 10, 0.1, 1.0)

    return {"U-Net": partial(trained, diffusion), "drawing": draw, "encoder": partial(trained, encoder)}


def trained(training: Any) -> None:
    """One step of a training: forward, backward, optimiser."""
    if not hasattr(training, "busy_optimizer"):
        training.busy_optimizer, _ = training.optimizer()
    training(0).backward()
    training.busy_optimizer.step()
    training.busy_optimizer.zero_grad()
    training.after_step(0)


def child(threads: int) -> None:
    """Time the steps in this process with so many threads, and print it as JSON."""
    import torch

    torch.set_num_threads(threads)
    found = {}
    for name, step in steps().items():
        for _ in range(3):
            step()
        walls: list[float] = []
        begin, used = time.perf_counter(), time.process_time()
        while time.perf_counter() - begin < SECONDS or len(walls) < 3:
            start = time.perf_counter()
            step()
            walls.append(time.perf_counter() - start)
        used = time.process_time() - used
        found[name] = {
            "wall": statistics.fmean(walls),
            "least": min(walls),
            "processor": used / len(walls),
            "steps": len(walls),
        }
    print(json.dumps(found))


def taken(setting: Setting, patience: float) -> dict[str, Any]:
    """One process: the times of its steps, and how many cores other work kept busy meanwhile."""
    environment = {**os.environ, **WAITING[setting.waiting]}
    wait_for_quiet(patience)
    before, begin = others_seconds(), time.perf_counter()
    with kept_busy(setting.busy):
        words = [sys.executable, __file__, "--child", str(setting.threads)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    others = (others_seconds() - before) / (time.perf_counter() - begin)
    return {"steps": json.loads(done.stdout), "others": round(others, 2)}


def others_seconds() -> float:
    """Seconds of all cores that went to others than this process and its children, niced ones included."""
    times, own = psutil.cpu_times(), os.times()
    ours = own.user + own.system + own.children_user + own.children_system
    return float(times.user + times.system + getattr(times, "nice", 0.0) - ours)


def wait_for_quiet(patience: float) -> None:
    """Wait, at most so many seconds, until other work leaves the cores alone."""
    limit = time.monotonic() + patience
    while time.monotonic() < limit:
        before = others_seconds()
        time.sleep(1.0)
        if others_seconds() - before < 0.25:
            return


@dataclass(frozen=True)
class Setting:
    """What a row measures."""

    threads: int
    waiting: str
    busy: int
    """Cores that are kept busy."""


def settings(busy: int) -> list[Setting]:
    """All rows."""
    every = os.cpu_count() or 1
    kinds = [*((every, waiting) for waiting in WAITING), (max(every - 1, 1), "default")]
    return [Setting(threads, waiting, cores) for cores in (0, busy) for threads, waiting in kinds]


def row(setting: Setting, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of the rounds, in milliseconds."""
    cells = {}
    for name in rounds[0]["steps"]:
        kinds = {
            kind: [1e3 * found["steps"][name][kind] for found in rounds] for kind in ("wall", "least", "processor")
        }
        cells[name] = {kind: round(statistics.median(values), 1) for kind, values in kinds.items()}
        cells[name]["walls"] = [round(value, 1) for value in kinds["wall"]]
    return {**asdict(setting), "ms": cells, "cores of other work": [found["others"] for found in rounds]}


def main() -> None:
    if "--child" in sys.argv:
        child(int(sys.argv[-1]))
        return
    options = arguments(__doc__, busy=1, patience=20.0)
    rounds: dict[Setting, list[dict[str, Any]]] = {setting: [] for setting in settings(options.busy)}
    for number in range(options.rounds):
        for setting in list(rounds) if number % 2 == 0 else reversed(list(rounds)):
            rounds[setting].append(taken(setting, options.patience))
            print(row(setting, rounds[setting][-1:]), file=sys.stderr, flush=True)
    rows = [row(setting, found) for setting, found in rounds.items()]
    for found in rows:
        told = ", ".join(f"{name} {cell['wall']:g} ({cell['processor']:g})" for name, cell in found["ms"].items())
        print(f"{found['threads']} threads, {found['waiting']:12} beside {found['busy']}: {told} ms")
    if options.json:
        put(options.json, {"rows": rows, "rounds": options.rounds, "machine": machine()})


if __name__ == "__main__":
    main()
