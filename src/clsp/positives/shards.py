"""The shards of a bank that is being made: which there are to be, which are done, and which are of no use any more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from clsp import faults, files
from clsp.positives.bank import Shard

_NAME = re.compile(r"shard-\d+\.(json|npy)")


_FIX = "delete it and stage.json beside it, and run the same 'clsp synthesize' again: only that shard is made anew"


@dataclass(frozen=True)
class _Facts:
    shard: Shard
    saturated: float
    made: str = ""
    """What it was made from, see `finished_shard`; older versions did not say."""


@dataclass(frozen=True)
class Part:
    """The anchors of one shard."""

    first: int
    """Row of the first of them."""
    count: int


def parts_of(anchors: int, size: int) -> list[Part]:
    """Split ``anchors`` rows into shards of ``size``; the last one may be smaller."""
    return [Part(first, min(size, anchors - first)) for first in range(0, anchors, size)]


def finished_shard(folder: Path, part: Part, made: str) -> Shard | None:
    """Return the shard of exactly these anchors, made from the same; None if it is not done.

    The name of a file says no more than the first row: a bank that goes on with shards of another size finds files
    under names that it knows, but with other rows; one whose record was removed may find those of other settings.

    Args:
        folder: the bank's.
        part: the anchors.
        made: the fingerprint of settings, data and model.
    """
    facts = _facts_path(folder, part.first)
    if not facts.exists():
        return None
    known = files.read_json(facts, _Facts, fix=_FIX)
    shard = known.shard
    same = (shard.first, shard.count) == (part.first, part.count) and known.made in ("", made)
    return shard if same and _path(folder, part.first).exists() else None


def missing_parts(folder: Path, parts: Sequence[Part], made: str) -> list[Part]:
    """Those of ``parts`` that are still to be drawn, see `finished_shard`."""
    return [part for part in parts if finished_shard(folder, part, made) is None]


def written(folder: Path, parts: Sequence[Part], made: str) -> list[Shard]:
    """Return the shards of ``parts``, which are all done."""
    return [shard for part in parts if (shard := finished_shard(folder, part, made))]


def write_shard(folder: Path, part: Part, images: np.ndarray, saturated: float, made: str) -> None:
    """Write the candidates of a part (uint8 [count, k, H, W, C]), then its facts, which make it a shard.

    Args:
        folder: the bank's.
        part: its anchors.
        images: their candidates.
        saturated: the fraction of pixel values that were cut off.
        made: see `finished_shard`.
    """
    _remove(folder, part.first)  # else the facts of a shard of another size would stand beside these images
    path = _path(folder, part.first)
    files.write_array(path, images)
    shard = Shard(path.name, part.first, part.count, files.file_hash(path))
    files.write_json(_facts_path(folder, part.first), {"shard": asdict(shard), "saturated": saturated, "made": made})


def saturation(folder: Path, shard: Shard) -> float:
    """The fraction of a shard's pixel values that were cut off."""
    return files.read_json(_facts_path(folder, shard.first), _Facts, fix=_FIX).saturated


def remove_others(folder: Path, parts: Sequence[Part]) -> None:
    """Remove the shards that no part begins with: a bank that was begun with another size left them."""
    firsts = {part.first for part in parts}
    for path in _shard_files(folder):
        if _first_of(path) not in firsts:
            faults.point("remove")
            path.unlink(missing_ok=True)


def bytes_to_replace(folder: Path, parts: Sequence[Part], missing: Sequence[Part]) -> int:
    """Bytes of the shards' files that are none of the finished ``parts``: their room will be free again."""
    done = {part.first for part in parts} - {part.first for part in missing}
    total = 0
    for path in _shard_files(folder):
        if _first_of(path) not in done:
            with suppress(FileNotFoundError):  # another process removed it just now
                total += path.stat().st_size
    return total


def _shard_files(folder: Path) -> list[Path]:
    """All shards' facts and images, whichever partition they belong to; facts first, as they are to be removed."""
    return sorted(path for path in folder.glob("shard-*") if _NAME.fullmatch(path.name))


def _path(folder: Path, first: int) -> Path:
    return folder / f"shard-{first:08d}.npy"


def _facts_path(folder: Path, first: int) -> Path:
    return folder / f"shard-{first:08d}.json"


def _first_of(path: Path) -> int:
    return int(path.stem.removeprefix("shard-"))


def _remove(folder: Path, first: int) -> None:
    """Remove a shard; its facts go first, for they say that the images are whole."""
    for path in (_facts_path(folder, first), _path(folder, first)):
        faults.point("remove")
        path.unlink(missing_ok=True)
