"""Damage the files of every reader in every way, and count what comes of it: read, or one line.

    python experiments/fuzz.py --each 20000

A reader may answer with what it read or with UserError, whose text is one line. Anything else is a fault of ours: a
traceback, an input that takes longer than a few seconds, a file outside of the reader's folder. What was counted is
written to studies/fuzz/result.json after every thousand inputs; the same command goes on from there. The n-th input of
a reader is always the same one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from damage import damaged
from readers import READERS

from clsp import files
from clsp.errors import UserError
from clsp.images.decode import UnreadableImage

RESULT = Path(__file__).parents[1] / "studies" / "fuzz" / "result.json"
SECONDS = 10
"""An input that takes longer hangs, see `at_most`."""
LONGEST = 3_000
"""Characters of a line: more is no line that a person reads."""


class HangError(BaseException):
    """Not an Exception: no reader may catch it."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """End the block after so many seconds of its own, or six times as many of waiting, where the system can.

    Beside other work an input may wait for the processor for long.
    """
    begun, waited = time.process_time(), 0

    def hang(number: int, frame: FrameType | None) -> None:
        nonlocal waited
        waited += 1
        if time.process_time() - begun > 0.5 * seconds or waited >= 6:
            raise HangError

    old = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


class Bench:
    """A reader's sound folder, of which one file at a time is damaged; what is around it must stay as it is."""

    def __init__(self, name: str, place: Path) -> None:
        self.name, self.reader, self.place = name, READERS[name], place
        self.folder = place / "input"
        self.folder.mkdir(parents=True)
        (place / "precious.txt").write_text("precious", encoding="utf-8")
        with _quiet():
            self.reader.make(self.folder)
        self.sound = {path: path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}
        with _quiet():
            self.reader.read(self.folder)  # what is sound is read
        self._restore()

    def attempt(self, number: int) -> tuple[str, str, str]:
        """Damage a file and read the folder.

        Returns:
            The damage, what came of it (``read``, ``line``, ``traceback``, ``hang``, ``outside``), and the words.
        """
        rng = Random(f"{self.name}:{number}")
        path = rng.choice(list(self.sound))
        kind, data = damaged(self.sound[path], path.suffix, rng)
        path.write_bytes(data)
        os.utime(path, ns=(number * 1_000_000 + 10**15,) * 2)  # what is compared once is known by its time
        outcome, words = self._read()
        changed = self._changes(path, data)
        if changed and outcome != "hang":
            outcome, words = "outside", f"{changed}"
        self._restore()
        return f"{path.relative_to(self.folder)}: {kind}", outcome, words

    def _read(self) -> tuple[str, str]:
        try:
            with _quiet(), at_most(SECONDS):
                self.reader.read(self.folder)
        except (UserError, UnreadableImage) as error:
            line = " ".join(str(error).split())
            return ("line", line) if line and len(line) <= LONGEST else ("traceback", f"no line: {line[:300]}")
        except HangError:
            return "hang", ""
        except BaseException:
            return "traceback", traceback.format_exc()
        return "read", ""

    def _changes(self, path: Path, data: bytes) -> list[str]:
        """What is another file than before, but for what was damaged and what the reader may write."""
        expected = {**self.sound, path: data, self.place / "precious.txt": b"precious"}
        found = {path: path.read_bytes() for path in self.place.rglob("*") if path.is_file()}
        allowed = {name for name in found if name.name in (*self.reader.writes, ".lock")}
        wrong = {name for name in {*expected, *found} - allowed if expected.get(name) != found.get(name)}
        return sorted(str(name.relative_to(self.place)) for name in wrong)

    def _restore(self) -> None:
        for path in [path for path in self.place.rglob("*") if path.is_file() and path not in self.sound]:
            if path != self.place / "precious.txt":
                path.unlink()
        for path, data in self.sound.items():
            if not path.is_file() or path.read_bytes() != data:
                path.write_bytes(data)


def memory() -> Path | None:
    """A folder in memory, where the system has one: a disk takes longer than the readers."""
    place = Path("/dev/shm")
    return place if place.is_dir() and os.access(place, os.W_OK) else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def examine(name: str, first: int, last: int, place: Path) -> tuple[Counter[str], Counter[str], list[str]]:
    """Read the inputs ``first`` to ``last`` of a reader: counts by outcome, by kind of damage, and the faults."""
    bench = Bench(name, place)
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    faults: list[str] = []
    for number in range(first, last):
        what, outcome, words = bench.attempt(number)
        outcomes[outcome] += 1
        kinds[what.rpartition(": ")[2]] += 1
        if outcome not in ("read", "line"):
            faults.append(f"{name} {number}: {what}: {outcome}\n{words}")
    return outcomes, kinds, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--each", type=int, default=20_000, help="inputs of every reader")
    parser.add_argument("--only", help="one reader")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    result: dict[str, Any] = files.read_json(arguments.out) if arguments.out.exists() else {"readers": {}}
    bad = 0
    for done in range(0, arguments.each, 1000):
        for name in READERS if arguments.only is None else [arguments.only]:
            known = result["readers"].setdefault(name, {"inputs": 0, "answers": {}, "damage": {}})
            if known["inputs"] > done:
                continue
            place = Path(tempfile.mkdtemp(prefix="clsp-fuzz-", dir=memory()))
            outcomes, kinds, faults = examine(name, done, min(done + 1000, arguments.each), place / "place")
            shutil.rmtree(place)
            known["inputs"] = min(done + 1000, arguments.each)
            known["answers"] = dict(sorted((Counter(known["answers"]) + outcomes).items()))
            known["damage"] = dict(sorted((Counter(known["damage"]) + kinds).items()))
            bad += len(faults)
            print(f"{name}: {known['inputs']} inputs, {known['answers']}", *faults[:3], sep="\n", flush=True)
            files.write_json(arguments.out, result | {"total": total(result["readers"])})
    return 1 if bad else 0


def total(readers: dict[str, Any]) -> dict[str, float]:
    """Sums over all readers; what must not happen stands there as 0."""
    answers: Counter[str] = Counter()
    for known in readers.values():
        answers.update(known["answers"])
    counts = {name: answers[name] for name in ("read", "line", "traceback", "hang", "outside")}
    inputs = sum(known["inputs"] for known in readers.values())
    return {"inputs": inputs, **counts, "line_percent": round(100 * counts["line"] / max(inputs, 1), 2)}


if __name__ == "__main__":
    raise SystemExit(main())
