"""From a plan of what to read to `Images`: decoded once, in parallel, into memory or a memory-mapped store.

A store is a folder that is named by its key: ``train.npy`` and perhaps ``test.npy`` (uint8 [N, C, H, W]), and
``index.json`` with names, labels and the key of what was read. The index is removed before the first pixel is written
and comes back after the last one, so that a killed writer leaves no index and the store is made again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from filelock import FileLock

from clsp import console, files
from clsp.errors import UserError
from clsp.images.decode import Decoded, UnreadableImage, strict_pillow
from clsp.images.imageset import Excluded, Images, Split

VERSION = 1
"""Part of every key: raise it when decoding changes."""

INDEX = "index.json"

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Part:
    """The images of one split, not yet read."""

    names: tuple[str, ...]
    read: Callable[[int], tuple[Decoded, int]]
    """Read image ``i`` and its label (ignored where ``labelled`` is False). May raise UnreadableImage."""
    labelled: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A data set, not yet read."""

    source: str
    key: str
    """Fingerprint of all that determines the result."""
    parts: dict[str, Part]
    """``train`` and perhaps ``test``."""
    size: int
    channels: int
    classes: tuple[str, ...] | None = None
    excluded: tuple[Excluded, ...] = ()
    """Files that are known to be unreadable."""
    notes: tuple[str, ...] = ()
    max_pixels: int


@dataclass
class _Tally:
    """What is learnt while reading."""

    excluded: list[Excluded]
    conversions: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, list[int]] = field(default_factory=dict)


def each(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Apply ``function`` to ``items`` in threads and yield the results in order.

    Only a few items are under way at a time, so that memory stays bounded whatever the consumer's pace.
    """
    workers = min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """Hold the lock of a store folder, so that one of several processes decodes and the others reuse.

    The lock dies with its process. Where the file system has none, nothing is held: writes are atomic anyway.
    """
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    with contextlib.suppress(OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def reopen(folder: Path | None, key: str, source: str) -> Images | None:
    """Open a finished store, or return None when there is none, or one of another key, or a damaged one."""
    if folder is None or not (folder / key / INDEX).exists():
        return None
    folder = folder / key
    try:
        index = files.read_json(folder / INDEX)
        if index["key"] != key:
            return None
        if index.get("sha256") not in (None, files.signature(index)):
            raise ValueError(f"{INDEX} was changed or damaged")
        splits = {name: _open_split(folder / f"{name}.npy", entry) for name, entry in index["parts"].items()}
        return Images(
            source=source,
            train=splits["train"],
            test=splits.get("test"),
            classes=tuple(index["classes"]) if index["classes"] else None,
            excluded=tuple(Excluded(**entry) for entry in index["excluded"]),
            notes=tuple(index["notes"]),
        )
    except Exception as error:  # torn by hand or by the disk: made again
        console.say(f"images: the store {folder} is damaged ({files.reason(error)}); the images are read again")
        return None


def _open_split(path: Path, entry: dict[str, Any]) -> Split:
    if "sha256" in entry:
        files.prove(path, known=files.Entry(entry["bytes"], entry["sha256"]))
    images = files.read_array(path, mapped=True)
    if list(images.shape) != entry["shape"] or images.dtype != np.uint8:
        raise ValueError(f"{path} is not the array of its index")
    if len(entry["names"]) != len(images) or not all(isinstance(name, str) for name in entry["names"]):
        raise ValueError("its index does not name all images")
    "".join(entry["names"]).encode(errors="surrogateescape")  # as a fingerprint does
    labels = None if entry["labels"] is None else np.array(entry["labels"], np.int64)
    return Split(images=images, names=entry["names"], labels=labels)


def build(plan: Plan, folder: Path | None) -> Images:
    """Read all images of ``plan`` once; those that cannot be read are left out and listed, never replaced.

    Args:
        plan: what to read.
        folder: where the store goes; None: everything stays in memory.

    Raises:
        UserError: fewer than two images could be read, or the disk has too little room.
    """
    total = sum(len(part.names) for part in plan.parts.values())
    tally = _Tally(excluded=list(plan.excluded))
    arrays: dict[str, np.ndarray] = {}
    store, folder = folder, None if folder is None else folder / plan.key
    if folder is not None:
        folder.mkdir(exist_ok=True)
        _prepare(folder, total * plan.channels * plan.size**2)
    with console.progress("reading images", total, "images") as bar, strict_pillow(plan.max_pixels):
        for name, part in plan.parts.items():
            rows = _rows(part, name, tally, bar)
            shape = (len(part.names), plan.channels, plan.size, plan.size)
            if folder is None:
                arrays[name] = _collect(rows, shape)
            else:
                _write(folder / f"{name}.npy", rows, shape)
    check_enough(plan.source, len(tally.names["train"]), tally.excluded)
    index = _index(plan, tally)
    if folder is not None:
        for name, entry in index["parts"].items():
            path = folder / f"{name}.npy"
            entry |= {"bytes": path.stat().st_size, "sha256": files.file_hash(path)}
        files.write_text(folder / INDEX, json.dumps(files.sealed(index)))
        stored = reopen(store, plan.key, plan.source)
        if stored is None:
            raise OSError(f"the image store in {folder} cannot be read back")
        return stored
    splits = {
        name: Split(
            images=arrays[name],
            names=tally.names[name],
            labels=np.array(tally.labels[name], np.int64) if part.labelled else None,
        )
        for name, part in plan.parts.items()
        if tally.names[name]
    }
    return Images(
        source=plan.source,
        train=splits["train"],
        test=splits.get("test"),
        classes=plan.classes,
        excluded=tuple(tally.excluded),
        notes=tuple(index["notes"]),
    )


def check_enough(source: str, count: int, excluded: Iterable[Excluded]) -> None:
    """Refuse a source of which fewer than two images could be read.

    Raises:
        UserError: none or one; names the first unreadable file.
    """
    if count >= 2:
        return
    bad = list(excluded)
    first = f"; {len(bad)} cannot be read, the first: {bad[0].name}: {bad[0].reason}" if bad else ""
    found = "none of the images" if count == 0 else "only one image"
    raise UserError(f"--data '{source}': {found} can be used, at least two are needed{first}; add images or mend them")


def _prepare(folder: Path, needed: int) -> None:
    (folder / INDEX).unlink(missing_ok=True)
    files.sweep(folder)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"'{folder}' has {free / 1e9:.1f} GB free, the decoded images need {needed / 1e9:.1f} GB: "
            "make room, choose another --out, or lower --images.size or --images.limit"
        )


def _rows(part: Part, split: str, tally: _Tally, bar: console.Progress) -> Iterator[np.ndarray]:
    """Yield uint8 [C, H, W] of every readable image in order, and note the others."""
    names, labels = tally.names.setdefault(split, []), tally.labels.setdefault(split, [])

    def attempt(index: int) -> tuple[Decoded, int] | str:
        try:
            return part.read(index)
        except UnreadableImage as error:
            return str(error)

    for name, result in zip(part.names, each(attempt, range(len(part.names)))):
        bar.advance()
        if isinstance(result, str):
            tally.excluded.append(Excluded(name=name, reason=result))
            continue
        decoded, label = result
        tally.conversions.update(decoded.conversions)
        names.append(name)
        labels.append(label)
        yield decoded.pixels


def _collect(rows: Iterator[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    images = np.empty(shape, np.uint8)
    count = 0
    for row in rows:
        images[count] = row
        count += 1
    return images[:count]


def _write(path: Path, rows: Iterator[np.ndarray], shape: tuple[int, ...]) -> None:
    """Stream rows into a .npy file, whose header is written again once their number is known."""
    with files.atomic(path) as file:
        _write_header(file, shape)
        count = 0
        for row in rows:
            file.write(row.tobytes())
            count += 1
        file.seek(0)
        _write_header(file, (count, *shape[1:]))  # as long as the first: numpy pads for a growing first axis


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _index(plan: Plan, tally: _Tally) -> dict[str, Any]:
    shape = (plan.channels, plan.size, plan.size)
    parts = {
        name: {
            "shape": [len(tally.names[name]), *shape],
            "names": tally.names[name],
            "labels": tally.labels[name] if part.labelled else None,
        }
        for name, part in plan.parts.items()
        if tally.names[name]
    }
    notes = list(plan.notes)
    notes += [f"{name}: {count} images" for name, count in sorted(tally.conversions.items())]
    if tally.excluded:
        notes.append(f"{len(tally.excluded)} files cannot be read and are left out")
    return {
        "key": plan.key,
        "parts": parts,
        "classes": plan.classes,
        "excluded": [{"name": entry.name, "reason": entry.reason} for entry in tally.excluded],
        "notes": notes,
    }
