"""What the experiments share: commands as a user would type them, trials, the cost of an epoch, parts of the work."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from clsp import files
from clsp.settings.describe import as_text

Item = TypeVar("Item")


def of_part(items: Iterable[Item], part: str) -> list[Item]:
    """Those that a process does which is given ``--part I/N``: every N-th, from the I-th on."""
    number, parts = map(int, part.split("/"))
    return list(items)[number::parts]


def clsp(command: str, options: Mapping[str, Any]) -> None:
    """Run a command as a user would type it."""
    words = itertools.chain.from_iterable((f"--{name}", as_text(value)) for name, value in options.items())
    subprocess.run([sys.executable, "-m", "clsp", command, *words], check=True)


def measured(options: Mapping[str, Any], place: Path) -> dict[str, float]:
    """Compare a single arm, where that is not done, and return the mean of every measure."""
    if not (place / "comparison.json").exists():
        clsp("compare", {**options, "seeds": 1, "out": place})
    found = files.read_json(place / "comparison.json")
    (arm,) = found["arms"]
    return {name: arm[name]["mean"] for name in found["measures"]}


def epoch_flops(arm: str, options: Mapping[str, Any], work: Path) -> float:
    """FLOPs of an epoch of an arm, counted once for all that share ``work``.

    A bank's candidates, and near images, cost an encoder what a third view does, or nothing in the second view's place.
    The rate is small, for without a warm-up some methods diverge at their own.
    """
    method, *source = arm.split("+")
    third = {"positives": "view"} if source and "host" not in source else {}
    folder = work / "-".join((method, *third.values()))
    own = {"pretrain.method": method, "pretrain.epochs": 1, "pretrain.warmup_epochs": 0, "pretrain.lr": 1e-3, **third}
    files.make_folder(folder)
    with FileLock(folder.with_suffix(".lock")):  # another process may ask for it, too
        if not (folder / "encoder.safetensors").exists():
            clsp("pretrain", {**options, **own, "out": folder})
    return float(facts_of(folder)["flops"])


def facts_of(folder: Path) -> dict[str, Any]:
    """What a finished stage says of itself."""
    found: dict[str, Any] = files.read_json(folder / "stage.json")["facts"]
    return found
