"""Chains of deaths: one folder, one command, which dies again and again; then it is what nothing interrupted."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from crashes import MODES, Death, Disk, attempt

SMALL = (
    "--data", "images.npz", "--recipe", "smoke", "--images.size", "8", "--evaluate.classifier_epochs", "0",
    "--evaluate.train_images", "24", "--diffusion.steps", "3", "--diffusion.timesteps", "4", "--diffusion.batch_size",
    "8", "--diffusion.widths", "[4]", "--diffusion.norm_groups", "2", "--diffusion.checkpoint_minutes", "0",
    "--synthesize.anchors", "24", "--synthesize.shard_anchors", "8", "--synthesize.steps", "2",
    "--synthesize.candidates", "1", "--pretrain.images", "24", "--pretrain.batch_size", "12", "--pretrain.epochs", "1",
    "--pretrain.checkpoint_minutes", "0", "--pretrain.projector.hidden", "8", "--pretrain.projector.dim", "4",
    "--pretrain.backbone.args", '{"layers": [1, 1, 1, 1], "channels": [2, 2, 4, 4]}',
)  # fmt: skip
TWO = ("--hardware.devices", "2", "--hardware.accelerator", "cpu")


@dataclass(frozen=True)
class Subject:
    """What is driven."""

    words: tuple[str, ...]
    other: tuple[str, ...] = ()
    """What is called in place of it now and then, in the same folder."""
    processes: int = 1
    share: float = 1.0
    """How often it is chosen, among the others."""


_PRETRAIN = ("pretrain", *SMALL, "--out", "root/out", "--positives")
SUBJECTS = {
    "run": Subject(("run", *SMALL, "--out", "root/out"), share=3),
    "compare": Subject(("compare", *SMALL, "--methods", "simclr,byol+bank", "--seeds", "1", "--out", "root/out")),
    "synthesize by two": Subject(
        ("synthesize", *SMALL, *TWO, "--diffusion", "model", "--out", "root/out"), processes=2, share=1.5
    ),
    "pretrain with one bank, then another": Subject((*_PRETRAIN, "bank"), (*_PRETRAIN, "bank2")),
}
GIVEN = ("images.npz", "model", "bank", "bank2")
"""What the commands read."""
TIMES = ("seconds", "process", "peak", "sha256")
"""Names of entries that cannot be equal: wall-clock times, who worked, the memory that it took, hashes of all these."""
TOLD = ("report.html", "comparison.md")
"""Files that tell such times among other things: they must be there."""
KINDS = ("kill", *MODES, "enospc", "eio")
FAR = 60
"""Fault points that an attempt passes at most before its fault, and deaths of a folder."""


@dataclass
class Chain:
    """What happened to one folder."""

    number: int
    subject: str
    faults: list[list[str]] = field(default_factory=list)
    """Stage, point and kind of each."""
    kills: list[str] = field(default_factory=list)
    """Where the SIGKILLs from outside came: the last stage that was heard of."""
    lost: list[str] = field(default_factory=list)
    """Files with other bytes than those of the run that nothing interrupted."""
    wrong: list[str] = field(default_factory=list)
    """Ends that are no one-line error, and runs that did not end."""


def images(path: Path) -> None:
    """Write 40 images of two classes."""
    draws = np.random.default_rng(0)
    labels = np.arange(40) % 2
    prototypes = draws.integers(40, 216, (2, 1, 8, 8))
    pixels = (prototypes[labels] + draws.integers(-40, 40, (40, 1, 8, 8))).astype(np.uint8)
    parts: dict[str, Any] = {"train_images": pixels[:24], "train_labels": labels[:24], "test_images": pixels[24:]}
    np.savez(path, **parts, test_labels=labels[24:])


def contents(folder: Path) -> dict[str, str]:
    """A hash of every file of a result, without what cannot be equal."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or path.name == ".lock" or "superseded" in name:
            continue
        data = path.read_bytes()
        if path.name in TOLD:
            data = b"told" if data else b""
        elif path.suffix == ".json":
            data = json.dumps(_timeless(json.loads(data))).encode()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"size", "sha256"}:  # of a file that may tell times: all files are compared by themselves
            return {}
        kept = {name: item for name, item in value.items() if not any(part in name for part in TIMES)}
        return {name: _timeless(item) for name, item in kept.items()}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


class Sweep:
    """Drives chains in ``work``; ``call`` is the command line."""

    def __init__(self, call: Callable[[list[str]], int], work: Path) -> None:
        self.call, self.work = call, work
        self.golden: dict[str, dict[str, str]] = {}
        self.seconds: dict[str, float] = {}
        self.points: dict[str, int] = {}

    def prepare(self, wanted: Iterable[str] = tuple(SUBJECTS)) -> None:
        """Make what the commands read, and what those of the subjects ``wanted`` make where nothing interrupts them.

        The first ones work in this process: what is loaded late is then there for all.
        """
        for leftover in ("warm", *GIVEN[1:]):
            shutil.rmtree(self.work / leftover, ignore_errors=True)
        images(self.work / "images.npz")
        here = Path.cwd()
        os.chdir(self.work)
        self._do(*SUBJECTS["run"].words[:-1], "warm")
        shutil.copytree("warm/diffusion", "model")
        for bank, seed in (("bank", "0"), ("bank2", "1")):
            self._do("synthesize", *SMALL, "--diffusion", "model", "--seed", seed, "--out", bank)
        os.chdir(here)
        for name in wanted:
            subject = SUBJECTS[name]
            place = self.place(f"golden {name}")
            end = attempt(self.call, subject.words, place, processes=subject.processes)
            if set(end.statuses) != {0}:
                raise RuntimeError(f"{name} does not run: {end.said[-1000:]}")
            self.golden[name], self.seconds[name] = contents(place / "root" / "out"), end.seconds
            self.points[name] = len(end.passed)
            shutil.rmtree(place)

    def _do(self, *words: str) -> None:
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            if self.call(list(words)):
                raise RuntimeError(f"clsp {' '.join(words)} does not run: {said.getvalue()[-500:]}")

    def place(self, name: str) -> Path:
        """An empty folder with what the commands read."""
        place = self.work / name
        shutil.rmtree(place, ignore_errors=True)
        (place / "root").mkdir(parents=True)
        for given in GIVEN:
            (place / given).symlink_to(self.work / given)
        return place

    def chain(self, number: int, wanted: str | None = None) -> Chain:
        """Let one folder's command (of a subject) die until an attempt ends by itself; look at what is there."""
        draws = np.random.default_rng([number, 7])
        names, shares = list(SUBJECTS), np.array([subject.share for subject in SUBJECTS.values()])
        drawn = names[draws.choice(len(names), p=shares / shares.sum())]
        chain = Chain(number, wanted or drawn)
        subject, place = SUBJECTS[chain.subject], self.place(f"chain {number}")
        while (
            not chain.wrong and len(chain.faults) + len(chain.kills) < FAR and self._die(chain, subject, place, draws)
        ):
            pass
        if not chain.wrong:
            end = attempt(self.call, subject.words, place, processes=subject.processes)
            chain.wrong += [] if set(end.statuses) == {0} else [_story(end, "no fault")]
        if not chain.wrong:
            now, golden = contents(place / "root" / "out"), self.golden[chain.subject]
            chain.lost += sorted(name for name in {*now, *golden} if now.get(name) != golden.get(name))
        if not chain.wrong and not chain.lost:
            shutil.rmtree(place)
        return chain

    def _die(self, chain: Chain, subject: Subject, place: Path, draws: np.random.Generator) -> bool:
        """Let the command die once; False: it came to its end before."""
        victim, outside = int(draws.integers(subject.processes)), draws.random() < 0.12
        kind = "kill" if outside else KINDS[draws.integers(len(KINDS))]
        nth, when = (
            int(draws.integers(1, min(FAR, self.points[chain.subject] // subject.processes**2))),
            self.seconds[chain.subject] * float(draws.random()) * 0.5,
        )
        disk = Disk(place / "root", place / "safe") if kind in MODES else None
        if disk:
            disk.begin()
        fault = None if outside else f"any:{nth}:{'kill' if disk else kind}"
        after = when if outside else None
        how = {"processes": subject.processes, "victim": victim, "fault": fault, "after": after, "disk": disk}
        words = subject.other if subject.other and draws.random() < 0.4 else subject.words
        end = attempt(self.call, words, place, **how)  # type: ignore[arg-type]
        if disk:
            disk.lose(kind)
        passed = end.passed[:nth] if fault else end.passed  # an error is followed by what tidies up
        where = passed[-1].split(": ", 1) if passed else ["start", "begin"]
        if outside and end.statuses[victim] == -signal.SIGKILL:
            chain.kills.append(where[0])
        elif not outside and len(end.passed) >= nth:
            chain.faults.append([*where, kind])
        elif set(end.statuses) == {0}:
            return bool(subject.other) and words != subject.words
        wrong = _wrong(end, victim, "power" if disk else kind)
        chain.wrong += [_story(end, f"{where} {kind}: {wrong}")] if wrong else []
        return set(end.statuses) != {0}


def _wrong(end: Death, victim: int, kind: str) -> str | None:
    """Say what is wrong with an end: nobody hangs, and what is not a kill ends in one line."""
    others = [status for rank, status in enumerate(end.statuses) if rank != victim]
    errors, killed = end.said.count("clsp: error:"), kind in ("kill", "power")
    if end.statuses[victim] not in ((-signal.SIGKILL,) if killed else (0, 2)):
        return "another end than that of the fault"
    if kind != "power" and end.statuses[victim] and any(status in (0, -signal.SIGKILL) for status in others):
        return "another process waited, or was content"
    if "Traceback" in end.said:
        return "a traceback"
    wanted = len(others) if kind == "kill" else 1 if end.statuses[victim] == 2 else 0
    return f"{errors} lines with an error, not {wanted}" if kind != "power" and errors != wanted else None


def _story(end: Death, what: str) -> str:
    return f"{what}: {end.statuses} after {end.seconds:.1f} s: ...{end.said[-1500:]}"
