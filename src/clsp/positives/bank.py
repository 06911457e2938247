"""The bank: the candidates of all anchors on disk, memory-mapped, with where they come from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Len
from pydantic import ConfigDict, NonNegativeInt, PositiveInt
from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from clsp import files
from clsp.errors import UserError

FORMAT = "clsp-bank-1"

_FIX = "delete it and stage.json beside it, and run the same 'clsp synthesize' again: its shards are kept"


@dataclass(frozen=True)
class Shard:
    """One file of a bank."""

    file: str
    """File name inside the bank's folder."""
    first: NonNegativeInt
    """Row of its first anchor."""
    count: PositiveInt
    """Anchors in it."""
    sha256: str
    """Of the file's bytes."""


class _Data(TypedDict):
    source: str
    fingerprint: str


class Manifest(TypedDict):
    """What ``manifest.json`` says; more may stand there."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    format: str
    candidates: PositiveInt
    shape: Annotated[list[PositiveInt], Len(3, 3)]
    """Height, width, channels."""
    data: _Data
    unet: NotRequired[str]
    shards: list[Shard]
    measures: NotRequired[dict[str, dict[str, Any]]]


class PositiveBank:
    """k candidates for every anchor, looked up by the anchors' dataset indices.

    ``bank[ids, candidate]`` gives uint8 [B, C, H, W]; ids are dataset indices, never positions in a batch.

    Attributes:
        folder: where it lies.
        manifest: what it is made of: data, model, sampler, measures.
        ids: dataset indices of the anchors, int64 [N], sorted.
        candidates: k.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], ids: np.ndarray, shards: list[np.ndarray]) -> None:
        self.folder, self.manifest, self.ids = folder, manifest, ids
        self.candidates = int(manifest["candidates"])
        self._shards = shards
        self._firsts = np.cumsum([0] + [len(shard) for shard in shards])

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        height, width, channels = self.manifest["shape"]
        shape = f"{len(self)} anchors x {self.candidates} candidates of {channels} x {height} x {width}"
        return f"<{type(self).__name__} {shape} in {self.folder}>"

    def _repr_html_(self) -> str:
        """Some anchors with their candidates, for a notebook."""
        from clsp.positives.shown import bank_html

        return bank_html(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return PositiveBank.open, (self.folder,)  # another process maps the files: they are never copied

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = False) -> PositiveBank:
        """Open a finished bank.

        Args:
            folder: a run's ``positives`` folder.
            verify: whether to wait until every shard's bytes are compared with its hash; else large ones are
                compared in the background, see `clsp.files.settle`.

        Raises:
            UserError: there is no bank, it is not finished, a shard is missing or damaged, or the shards do not hold
                every anchor once.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        shards, ids = [Shard(**entry) for entry in manifest["shards"]], _read_ids(folder)
        _require_every_anchor(folder, shards, len(ids))
        arrays = [_open_shard(folder, shard, manifest) for shard in shards]
        if verify:
            files.settle()
        return cls(folder, manifest, ids, arrays)

    @property
    def fingerprint(self) -> str:
        """What it holds: a hash of its anchors and of the bytes of all shards (16 hex digits)."""
        shards = [shard["sha256"] for shard in self.manifest["shards"]]
        return files.fingerprint([self.manifest["data"], self.ids.tolist(), shards])

    @property
    def unet(self) -> str:
        """The hash of the U-Net that drew it.

        Raises:
            UserError: the manifest does not say it.
        """
        with files.foreign(self.folder / "manifest.json", _FIX):
            return str(self.manifest["unet"])

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Find the rows of dataset indices ``ids`` (int64 [B]).

        Raises:
            UserError: the bank has no candidates for some of them.
        """
        places = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        missing = ids[self.ids[places] != ids]
        if len(missing):
            raise UserError(
                f"the bank {self.folder} has no candidates for {len(missing)} of the {len(ids)} anchors "
                f"(first: {int(missing[0])}); make it with --anchors of at least that many, and the same seed"
            )
        return places

    def __getitem__(self, key: tuple[Any, Any]) -> Tensor:
        """Return candidate ``candidate`` (int or int64 [B]) of anchors ``ids`` (int64 [B]): uint8 [B, C, H, W]."""
        ids, candidate = (np.asarray(part, dtype=np.int64) for part in key)
        return torch.from_numpy(self.read(self.rows(np.atleast_1d(ids)), candidate))

    def read(self, rows: np.ndarray, candidate: np.ndarray) -> np.ndarray:
        """Like ``bank[ids, candidate]``, by rows of the bank."""
        candidate = np.broadcast_to(candidate, rows.shape)
        if candidate.size and not 0 <= candidate.min() <= candidate.max() < self.candidates:
            wrong = candidate.min() if candidate.min() < 0 else candidate.max()
            raise IndexError(f"candidate {wrong} is outside 0 to {self.candidates - 1}")
        height, width, channels = self.manifest["shape"]
        out = np.empty((len(rows), height, width, channels), dtype=np.uint8)
        where = np.searchsorted(self._firsts, rows, side="right") - 1
        for number in np.unique(where):
            mine = where == number
            out[mine] = self._shards[number][rows[mine] - self._firsts[number], candidate[mine]]
            files.release(self._shards[number])
        return np.ascontiguousarray(out.transpose(0, 3, 1, 2))

    def array(self, rows: np.ndarray) -> np.ndarray:
        """Return all candidates of ``rows`` as uint8 [B, k, C, H, W]."""
        every = [self.read(rows, np.array(candidate)) for candidate in range(self.candidates)]
        return np.stack(every, axis=1)

    def require_data(self, fingerprint: str, source: str) -> None:
        """Refuse a bank whose anchors are other images.

        Raises:
            UserError: the bank was made from other data.
        """
        if self.manifest["data"]["fingerprint"] != fingerprint:
            raise UserError(
                f"the bank {self.folder} belongs to other data ({self.manifest['data']['source']}, fingerprint "
                f"{self.manifest['data']['fingerprint']}), not to {source} ({fingerprint}); "
                "give the --data it was made from, with the same --images options, or make a new bank"
            )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of the bank in ``folder``.

    Raises:
        UserError: there is none, or it is damaged or another format's.
    """
    path = folder / "manifest.json"
    if not path.exists():
        raise UserError(f"--positives {folder}: no bank there (no manifest.json); make one with 'clsp synthesize'")
    read = files.read_json(path, fix=_FIX)
    if isinstance(read, dict) and read.get("format") != FORMAT:
        raise UserError(f"--positives {folder}: format {read.get('format')!r:.40} is not {FORMAT}; make a new bank")
    manifest: dict[str, Any] = dict(files.read_json(path, Manifest, fix=_FIX))
    return manifest | {"shards": [asdict(shard) for shard in manifest["shards"]]}


def _read_ids(folder: Path) -> np.ndarray:
    """The dataset indices of the anchors, int64 [N], ascending."""
    path = folder / "ids.npy"
    ids = files.read_array(path, fix=_FIX)
    with files.foreign(path, _FIX):
        if ids.ndim != 1 or ids.dtype != np.int64 or not len(ids):
            raise ValueError(f"it holds {ids.dtype} {ids.shape}, not int64 [N]")
        if ids[0] < 0 or not (np.diff(ids) > 0).all():
            raise ValueError("its indices do not ascend from 0")
    return ids


def _open_shard(folder: Path, shard: Shard, manifest: dict[str, Any]) -> np.ndarray:
    path = folder / shard.file
    if path.parent.resolve() != folder.resolve() or not shard.file:
        raise UserError(f"the bank {folder} names a shard outside of it ({shard.file}); it was tampered with")
    again = "run the same 'clsp synthesize' again: only that shard is made anew"
    fix = f"delete it and {folder / 'stage.json'}, and {again}"
    with files.foreign(f"shard {path}", fix, what="is missing or damaged"):
        known = files.Entry(path.stat().st_size, shard.sha256)
        files.prove(path, later=True, known=known)
        array = files.read_array(path, mapped=True)
    expected = (shard.count, manifest["candidates"], *manifest["shape"])
    if array.shape != expected or array.dtype != np.uint8:
        raise UserError(f"shard {path} holds {array.dtype} {array.shape}, not uint8 {expected}; {fix}")
    return array


def _require_every_anchor(folder: Path, shards: list[Shard], anchors: int) -> None:
    """Refuse shards that overlap or leave anchors out: their rows would be taken for other anchors'."""
    fix = f"delete {folder} and run the same 'clsp synthesize' again"
    row = 0
    for shard in shards:
        if shard.first != row:
            raise UserError(f"the bank {folder} has a shard ({shard.file}) from row {shard.first}, not {row}; {fix}")
        row += shard.count
    if row != anchors:
        raise UserError(f"the bank {folder} has shards for {row} anchors, not for its {anchors}; {fix}")
