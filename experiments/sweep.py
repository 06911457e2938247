"""Does anything get lost? Thousands of faults in small runs: `python experiments/sweep.py --faults 1000 --kills 100`.

A chain is one folder and one command, which dies again and again: at its n-th fault point, n drawn anew (SIGKILL, a
power failure that loses what was not flushed, a full disk, a broken one), or by a SIGKILL from outside at a random
time. Then it runs without a fault, and every file must have the bytes of a run that nothing interrupted; wall-clock
times, which cannot be equal, are left out by name. An error must be one line with exit status 2.

STUDY/result.json (--out) gets the counts. A sweep that was stopped goes on where --work says it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from chains import Chain, Sweep


def _chains(path: Path) -> Iterator[Chain]:
    if path.exists():
        for line in path.read_text().splitlines():
            yield Chain(**json.loads(line))


def result(chains: list[Chain]) -> dict[str, Any]:
    """The counts."""
    faults = [fault for chain in chains for fault in chain.faults]
    stages, kinds = (Counter(fault[place] for fault in faults) for place in (0, 2))
    points = Counter(point for _, point, kind in faults if kind not in ("enospc", "eio"))
    return {
        "faults": len(faults),
        "kills_from_outside": sum(len(chain.kills) for chain in chains),
        "folders": len(chains),
        "lost": sum(bool(chain.lost) for chain in chains),
        "wrong_ends": sum(bool(chain.wrong) for chain in chains),
        "faults_a_folder": round(len(faults) / max(len(chains), 1), 2),
        "by_command": dict(Counter(chain.subject for chain in chains)),
        "by_kind": dict(sorted(kinds.items())),
        "by_stage": dict(sorted(stages.items())),
        "deaths_by_point": dict(sorted(points.items())),
        "kills_by_stage": dict(sorted(Counter(stage for chain in chains for stage in chain.kills).items())),
        "what_was_lost": [asdict(chain) for chain in chains if chain.lost or chain.wrong],
    }


def drive(sweep: Sweep, faults: int, kills: int, workers: int) -> list[Chain]:
    """Drive chains, some at a time, until there are enough of both."""
    path = sweep.work / "chains.jsonl"
    done = list(_chains(path))
    known = {chain.number for chain in done}
    upcoming = (number for number in count() if number not in known)
    busy: set[int] = set()
    while busy or not _enough(done, faults, kills):
        while len(busy) < workers and not _enough(done, faults, kills):
            number = next(upcoming)
            child = os.fork()
            if child == 0:
                line = json.dumps(asdict(sweep.chain(number))) + "\n"
                with path.open("a") as file:
                    file.write(line)
                os._exit(0)
            busy.add(child)
        child, status = os.wait()
        if status:
            raise RuntimeError("a chain did not come to its end: the sweep itself is at fault")
        busy.remove(child)
        done = list(_chains(path))
        print({name: value for name, value in result(done).items() if isinstance(value, int | float)}, flush=True)
    return done


def _enough(done: list[Chain], faults: int, kills: int) -> bool:
    found = result(done)
    return bool(found["faults"] >= faults and found["kills_from_outside"] >= kills)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs from outside at random times")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/sweep"), help="where the folders lie")
    parser.add_argument("--out", type=Path, default=Path("studies/sweep"))
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    from clsp.cli.main import dispatch

    given.work.mkdir(parents=True, exist_ok=True)
    sweep = Sweep(dispatch, given.work.resolve())
    sweep.prepare()
    found = result(drive(sweep, given.faults, given.kills, given.workers))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "result.json").write_text(json.dumps(found, indent=1) + "\n")
    return int(found["lost"] or found["wrong_ends"])


if __name__ == "__main__":
    sys.exit(main())
