"""What all benchmarks share: two sides timed in turns, the machine's own rates, the table and the JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from clsp.engine.heap import keep_heap

Side = Callable[[], Any]
"""One side's work. Where it returns a float, that is its seconds; else the call is timed."""


@dataclass(kw_only=True)
class Result:
    """One target: what was asked, what was measured, and what it cost in quality."""

    target: str
    goal: float
    ratio: float
    """Median over the rounds: how many times better than the other side."""
    low: float
    """Smallest of the rounds."""
    high: float
    """Largest of the rounds."""
    ours: str = ""
    """What our side took, with its unit."""
    theirs: str = ""
    """What the other side took."""
    floor: str = ""
    """How far our side is from what the machine can do at all."""
    quality: dict[str, Any] = field(default_factory=dict)


def single(target: str, goal: float, ratio: float, **more: Any) -> Result:
    """A ratio that is measured once."""
    ratio = round(ratio, 2)
    return Result(target=target, goal=goal, ratio=ratio, low=ratio, high=ratio, **more)


def spread(target: str, goal: float, ratios: list[float], **more: Any) -> Result:
    """A ratio of several rounds: their median, smallest and largest."""
    middle, low, high = (round(value, 2) for value in (statistics.median(ratios), min(ratios), max(ratios)))
    return Result(target=target, goal=goal, ratio=middle, low=low, high=high, **more)


def call(words: list[str], **options: Any) -> str:
    """Run a process and return what it said on stderr; where it fails, end with the last of its words."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stderr


@dataclass(kw_only=True)
class Rounds:
    """Seconds of both sides, one entry a round."""

    ours: list[float]
    theirs: list[float]

    def result(
        self, target: str, goal: float, *, per: float = 1.0, their_per: float | None = None, **more: Any
    ) -> Result:
        """Return the ratio of the times for the same amount of work.

        Args:
            target: its name.
            goal: the ratio to reach.
            per: units of work that a call of our side does.
            their_per: units that a call of the other side does; default: as many.
            more: further fields of the result.
        """
        theirs = [seconds / (their_per or per) for seconds in self.theirs]
        ours = [seconds / per for seconds in self.ours]
        return spread(
            target,
            goal,
            [t / o for t, o in zip(theirs, ours)],
            ours=seconds_text(statistics.median(ours)),
            theirs=seconds_text(statistics.median(theirs)),
            **more,
        )


def seconds_text(seconds: float) -> str:
    """Seconds in a unit that reads well."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def interleave(theirs: Side, ours: Side, rounds: int) -> Rounds:
    """Time both sides in turns, after one call of each that is not counted; who comes first alternates."""
    theirs(), ours()
    settle()
    taken = Rounds(ours=[], theirs=[])
    for number in range(rounds):
        pair = [(theirs, taken.theirs), (ours, taken.ours)]
        for side, seconds in pair if number % 2 == 0 else reversed(pair):
            begin = time.perf_counter()
            own = side()
            settle()
            seconds.append(own if isinstance(own, float) else time.perf_counter() - begin)
    return taken


def settle() -> None:
    """Wait until a GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matmul_rate(dtype: torch.dtype, size: int = 2048, device: str | torch.device = "cpu") -> float:
    """Measure the FLOPs a second of a square matrix product."""
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    return 2 * size**3 / _best(lambda: a @ b)


def copy_rate(size: int = 256_000_000, device: str | torch.device = "cpu") -> float:
    """Measure the bytes a second that are copied (read and written once)."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return size / _best(lambda: target.copy_(source))


def _best(run: Side) -> float:
    run()
    settle()
    taken = []
    for _ in range(5):
        begin = time.perf_counter()
        run()
        settle()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def floor_of(flops: float, seconds: float, dtype: torch.dtype) -> str:
    """Say how far ``seconds`` are above the time that ``flops`` take at the rate of a large matrix product."""
    rate = matmul_rate(dtype)
    return f"{flops / 1e9:.3g} GFLOP at {rate / 1e9:.0f} GFLOP/s: {seconds / (flops / rate):.1f} times the floor"


def processor() -> str:
    """The processor's name, where the system tells it."""
    path = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in path.read_text().splitlines() if line.startswith("model name")]
        if path.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Describe the machine, for the JSON file."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }


def arguments(description: str, **extra: Any) -> argparse.Namespace:
    """Read the options that all benchmarks have, and the script's own (name=default)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="put the results into this file, below the script's name")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which both sides are timed in turns")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch")
    for name, default in extra.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_heap()  # for both sides
    return options


def finish(results: list[Result], path: Path | None, part: str | None = None) -> None:
    """Print the table and put it into the JSON file ``path``, as ``part`` (the script's name)."""
    for result in results:
        reached = "reached" if result.ratio >= result.goal else "MISSED"
        print(
            f"{result.target}: {result.ratio:g} times ({result.low:g} to {result.high:g}), "
            f"goal {result.goal:g}: {reached}"
        )
        for label in ("ours", "theirs", "floor"):
            if text := getattr(result, label):
                print(f"    {label}: {text}")
        for name, value in result.quality.items():
            print(f"    {name}: {value}")
    if path:
        put(path, [{**asdict(result), "machine": machine()} for result in results], part)


def put(path: Path, found: Any, part: str | None = None) -> None:
    """Put what the running script found into a study's result.json, as ``part`` (the script's name)."""
    kept = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    kept["parts"][part or Path(sys.argv[0]).stem] = found
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n")
