"""What the benchmarks of a GPU share: its own peaks, times that wait for it, and the sides in turns."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from harness import Result, machine, spread

Work = Callable[[], Any]


@dataclass(frozen=True)
class Options:
    """How a benchmark was called."""

    json: Path | None
    tiny: bool
    rounds: int
    what: str

    @property
    def device(self) -> torch.device:
        """The GPU, or the CPU that stands for it."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def dtype(self) -> torch.dtype:
        """bf16 on a GPU; the CPU that stands for it computes in 32 bit."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def autocast(self) -> torch.autocast:
        """The precision of a run with ``auto``."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype is torch.bfloat16)


def options_of(description: str | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="put the results into this file")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes, which tests the benchmark")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which the sides are timed in turns")
    parser.add_argument("--what", default="", help="which part")
    return Options(**vars(parser.parse_args()))


def settle() -> None:
    """Wait until the GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(work: Work, *, least: float = 0.3, warm: int = 2) -> float:
    """Seconds of a call: repeated until ``least`` seconds have passed, the device's work included."""
    for _ in range(warm):
        work()
    settle()
    count, begin = 0, time.perf_counter()
    while count < 2 or time.perf_counter() - begin < least:
        work()
        count += 1
        if count % 5 == 0:
            settle()
    settle()
    return (time.perf_counter() - begin) / count


def in_turns(sides: dict[str, Work], rounds: int, *, least: float = 0.3) -> dict[str, list[float]]:
    """Seconds of a call of each side, one entry a round; the order turns round with every round."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sides if number % 2 == 0 else reversed(sides):
            found[name].append(seconds(sides[name], least=least))
    return found


def product_rate(options: Options) -> float:
    """FLOPs a second of a large matrix product in the precision of a run: the peak that can be had."""
    size = 512 if options.tiny else 8192
    a, b = (torch.randn(size, size, device=options.device, dtype=options.dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b)


def copy_rate(options: Options) -> float:
    """Bytes a second that a copy on the device reads and writes."""
    size = 10_000_000 if options.tiny else 2_000_000_000
    source = torch.ones(size, dtype=torch.uint8, device=options.device)
    target = torch.empty_like(source)
    return 2 * size / seconds(lambda: target.copy_(source))


def ratio(target: str, goal: float, found: dict[str, list[float]], theirs: str, ours: str, **more: Any) -> Result:
    """How many times faster ``ours`` is than ``theirs``, round by round."""
    ratios = [other / own for other, own in zip(found[theirs], found[ours])]
    text = {name: f"{1e3 * statistics.median(found[name]):.3g} ms" for name in (ours, theirs)}
    return spread(target, goal, ratios, ours=text[ours], theirs=text[theirs], **more)


def share(target: str, goal: float, flops: float, taken: list[float], peak: float, **more: Any) -> Result:
    """The fraction of the measured peak that work of so many FLOPs reaches, round by round."""
    text = f"{flops / 1e9:.3g} GFLOP in {1e3 * statistics.median(taken):.3g} ms"
    floor = f"peak {peak / 1e12:.3g} TFLOP/s of a matrix product"
    return spread(target, goal, [flops / one / peak for one in taken], ours=text, floor=floor, **more)


def keep(part: str, results: list[Result], options: Options) -> None:
    """Print the results, and put them into the JSON file as ``part``."""
    for one in results:
        reached = "reached" if one.ratio >= one.goal else "MISSED"
        print(f"{one.target}: {one.ratio:g} ({one.low:g} to {one.high:g}), goal {one.goal:g}: {reached}")
        print(
            *(f"    {text}" for text in (one.ours, one.theirs, one.floor, *map(str, one.quality.items())) if text),
            sep="\n",
        )
    if options.json:
        card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        kept = json.loads(options.json.read_text()) if options.json.exists() else {"parts": {}}
        kept["parts"][part] = [{**asdict(one), "machine": {**machine(), "card": card}} for one in results]
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(kept, indent=1) + "\n")
