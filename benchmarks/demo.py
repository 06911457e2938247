"""What `make demo` takes on idle cores, and beside other work that keeps one of them busy, in turns.

    python benchmarks/demo.py --rounds 3 --json studies/benchmarks/result.json

The seconds are those of its command, from the start of Python to the report.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from busy import kept_busy, wait_for_quiet
from harness import arguments, machine, put


def demo(busy: int, patience: float) -> float:
    """Seconds of the command, while so many cores are kept busy."""
    wait_for_quiet(patience)
    with tempfile.TemporaryDirectory() as folder, kept_busy(busy):
        begin = time.perf_counter()
        words = ["run", "--data", "digits", "--out", str(Path(folder) / "demo")]
        subprocess.run([sys.executable, "-m", "clsp", *words], check=True, stdout=subprocess.DEVNULL)
        return round(time.perf_counter() - begin, 1)


def main() -> None:
    options = arguments(__doc__, busy=1, patience=20.0)
    seconds: dict[str, list[float]] = {"idle": [], "beside": []}
    for _ in range(options.rounds):
        for name, cores in (("idle", 0), ("beside", options.busy)):
            seconds[name].append(demo(cores, options.patience))
    ratios = [round(beside / idle, 2) for idle, beside in zip(seconds["idle"], seconds["beside"])]
    found = {"seconds": seconds, "busy": options.busy, "ratios": ratios, "median": statistics.median(ratios)}
    print(found)
    if options.json:
        put(options.json, {**found, "rounds": options.rounds, "machine": machine()})


if __name__ == "__main__":
    main()
