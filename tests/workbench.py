"""A small run, made once in this process: its files can be damaged in a copy."""

from __future__ import annotations

import atexit
import shutil
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from PIL import Image

from clsp.cli.main import dispatch

RUN = (
    "run", "--recipe", "smoke", "--evaluate.classifier_epochs", 1, "--images.store", "none",
    "--diffusion.steps", 4, "--synthesize.anchors", 32, "--synthesize.shard_anchors", 16, "--pretrain.images", 32,
    "--pretrain.batch_size", 16, "--pretrain.epochs", 1,
)  # fmt: skip


def clsp(*arguments: object) -> int:
    """Run a command in this process; return its status."""
    return dispatch([str(argument) for argument in arguments])


@lru_cache(maxsize=1)
def finished() -> Path:
    """The folder of a finished run; nobody may change it."""
    place = Path(mkdtemp(prefix="clsp-run-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    _draw(place / "photos")
    assert clsp(*RUN, "--data", place / "photos", "--out", place / "run") == 0
    return place / "run"


def _draw(folder: Path) -> None:
    """Pictures of three classes in two parts."""
    rng = np.random.default_rng(0)
    for number in range(96):
        path = folder / ("test" if number % 3 == 0 else "train") / "abc"[number % 3 - number // 3 % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16)).astype(np.uint8)).save(path)


def copied(target: Path) -> Path:
    """A copy of the finished run, with the times of its files."""
    return Path(shutil.copytree(finished(), target))


def made(folder: Path) -> list[str]:
    """Names of all files that a run made, below its folder.

    A second name of a set of images (.same) is none of them: one that leads nowhere costs a decoding.
    """
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock" and path.suffix != ".same")
    return sorted(path.relative_to(folder).as_posix() for path in found)


def flip(path: Path, place: int | None = None) -> None:
    """Flip one bit of a file: in the middle, or of the byte at ``place``."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 4
    path.write_bytes(bytes(data))
