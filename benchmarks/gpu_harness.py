"""What the benchmarks of a GPU share besides `harness`: their options, its peak, and times that wait for it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from harness import Result, matmul_rate, seconds_text, settle, spread

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

    def peak(self, dtype: torch.dtype | None = None) -> float:
        """FLOPs a second of a large matrix product, in the precision of a run: the peak that can be had."""
        return matmul_rate(dtype or self.dtype, 512 if self.tiny else 8192, self.device)


def options_of(description: str | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="put the results into this file")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes, which tests the benchmark")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which the sides are timed in turns")
    parser.add_argument("--what", default="", help="which part")
    return Options(**vars(parser.parse_args()))


def seconds(work: Work, *, least: float = 0.3) -> float:
    """Seconds of a call: repeated until ``least`` seconds have passed, the device's work included."""
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


def share(target: str, goal: float, flops: float, taken: list[float], peak: float, **more: Any) -> Result:
    """The fraction of the measured peak that work of so many FLOPs reaches, round by round."""
    text = f"{flops / 1e9:.3g} GFLOP in {seconds_text(min(taken))}"
    floor = f"peak {peak / 1e12:.3g} TFLOP/s of a matrix product"
    return spread(target, goal, [flops / one / peak for one in taken], ours=text, floor=floor, **more)
