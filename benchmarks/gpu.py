"""What a GPU reaches: tests and benchmarks on it, in pieces of minutes, as one JSON file and a table.

    make gpu                       all pieces, within nine minutes
    make gpu PIECE=pretraining     one of them
    make gpu TINY=1                the smallest sizes, on the CPU where there is no GPU: it tests the pieces

Each piece is a process of its own with a limit of time; what it found is written before the next one begins. Without a
GPU, and without TINY, nothing runs: "skipped: no GPU".
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Piece:
    """A part of the work."""

    command: tuple[str, ...]
    """Of the interpreter; ``{json}`` is where its results go."""
    seconds: int
    """After which it is ended."""


PIECES = {
    "tests": Piece(("-m", "pytest", "-q", "tests/gpu"), 240),
    "generation": Piece(("benchmarks/gpu_generation.py", "--json", "{json}"), 120),
    "diffusion": Piece(("benchmarks/gpu_training.py", "--what", "diffusion", "--json", "{json}"), 90),
    "pretraining": Piece(("benchmarks/gpu_training.py", "--what", "pretraining", "--json", "{json}"), 180),
    "augmentation": Piece(("benchmarks/gpu_augmentation.py", "--json", "{json}"), 60),
    "neighbours": Piece(("benchmarks/gpu_neighbours.py", "--json", "{json}"), 60),
    "start": Piece(("benchmarks/gpu_start.py", "--json", "{json}"), 90),
}
LIMIT = 9 * 60
"""Seconds for all pieces of a call."""


def run(name: str, out: Path, *, tiny: bool, room: float) -> dict[str, Any]:
    """Run a piece; say how it ended."""
    piece, begin = PIECES[name], time.monotonic()
    words = [word.replace("{json}", str(out)) for word in piece.command]
    words += ["--tiny"] if tiny and name != "tests" else []
    try:
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, timeout=min(piece.seconds, room)
        )
        status, said = ("done" if done.returncode == 0 else "FAILED"), done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        status, said = "out of time", _text(error.stdout) + _text(error.stderr)
    print(f"== {name}: {status}\n{said[-4000:]}", flush=True)
    return {"status": status, "seconds": round(time.monotonic() - begin), "last": said.strip().splitlines()[-3:]}


def _text(said: bytes | str | None) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said or ""


def device() -> str | None:
    """The GPU's name; None where there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--piece", default="all", help=f"of {', '.join(PIECES)}, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("studies/gpu"), help="where the JSON file goes")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes; the CPU stands for the GPU")
    options = parser.parse_args()
    names = list(PIECES) if options.piece == "all" else options.piece.split(",")
    if unknown := [name for name in names if name not in PIECES]:
        parser.error(f"--piece {unknown[0]} is not one of {', '.join(PIECES)}")
    card = device()
    if card is None and not options.tiny:
        print("skipped: no GPU")
        return 0
    out = options.out / ("tiny.json" if options.tiny else f"{str(card).replace(' ', '-').lower()}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    begin, ended = time.monotonic(), {}
    for name in names:
        room = LIMIT - (time.monotonic() - begin)
        ended[name] = run(name, out, tiny=options.tiny, room=room) if room > 5 else {"status": "no time left"}
        kept = json.loads(out.read_text()) if out.exists() else {"parts": {}}
        kept.setdefault("pieces", {})[name] = ended[name]
        out.write_text(json.dumps({**kept, "card": card or "CPU"}, indent=1) + "\n")
    print("\n".join(f"{name:<14}{one['status']}" for name, one in ended.items()))
    return int(any(one["status"] == "FAILED" for one in ended.values()))


if __name__ == "__main__":
    sys.exit(main())
