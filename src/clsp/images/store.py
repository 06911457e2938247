"""From a plan of what to read to `Images`: decoded once, in parallel, into memory or a memory-mapped store.

A store is a folder that is named by its key: ``train.npy`` and perhaps ``test.npy`` (uint8 [N, C, H, W]), and
``index.json`` with names, labels and the key of what was read. The index is removed before the first pixel is written
and comes back after the last one, so that a killed writer leaves no index and the store is made again. The index holds
the fingerprint of each part: a store whose bytes have changed is made again, too.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from clsp import console, distributed, files
from clsp.errors import UserError
from clsp.images.cache import ALIAS, has_room, image_cache, use
from clsp.images.decode import Decoded, UnreadableImage, strict_pillow
from clsp.images.imageset import Excluded, Images, Split
from clsp.images.labels import require_learnable
from clsp.images.plan import Part, Plan, check_enough, each
from clsp.images.rows import collect, write_rows
from clsp.images.told import excluded_note
from clsp.images.tones import Tones
from clsp.images.unread import UNREAD, unread

INDEX = "index.json"

_PATIENCE = 1.0
"""Seconds of waiting for another process before it is said."""


@dataclass
class _Tally:
    """What is learnt while reading."""

    excluded: list[Excluded]
    conversions: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, list[int]] = field(default_factory=dict)
    rows: dict[str, list[int]] = field(default_factory=dict)
    """Which images of a part could be read."""


class NoRoomError(Exception):
    """The user's cache has no room for a set of decoded images."""


def fetch(folder: Path | None, key: str, source: str, plan: Callable[[], Plan]) -> Images:
    """Open the images of ``key`` in a store, or read them as ``plan`` says and keep them there.

    Of several processes one decodes, and the others wait for it.

    Args:
        folder: the store; None: everything stays in memory; UNREAD: nothing is decoded.
        key: fingerprint of all that determines the result.
        source: the SOURCE as the user named it.
        plan: says what is to be read; asked only where that is not there.

    Raises:
        UserError: fewer than two images could be read, or the disk has too little room.
        NoRoomError: the store is the user's cache, and has no room.
    """
    if folder is None or folder == UNREAD:
        return build(plan(), None) if folder is None else unread(plan())
    folder.mkdir(parents=True, exist_ok=True)
    if (served := _followed(folder, key)) != key:
        with _locked(folder / served):
            if (kept := _taken(folder, served, source)) is not None:
                return kept
            # What it led to is of no use, so that the images are made under their own key, and under its lock.
            (folder / f"{key}{ALIAS}").unlink(missing_ok=True)
    with _locked(folder / key):
        return _taken(folder, key, source) or build(plan(), folder)


def _taken(folder: Path, key: str, source: str) -> Images | None:
    """Open a finished set, and say so; None where it has to be decoded."""
    kept = reopen(folder, key, source)
    if kept is None:
        return None
    failed = [entry for entry in kept.excluded if entry.passing]
    if failed and distributed.world_size() == 1:  # the processes of one run need the same images
        console.say(f"images: {excluded_note(failed)}; as the disk may have failed, all are decoded again")
        return None
    console.say(f"images: decoded before, taken from {folder / key}")
    return kept


def _followed(folder: Path, key: str) -> str:
    """The key of a set that was made for another one and serves this, too; else the key itself."""
    try:
        other = (folder / f"{key}{ALIAS}").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return key
    return other if len(other) == len(key) and other.isalnum() and (folder / other / INDEX).exists() else key


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a set of images. It dies with its process.

    Where the file system has no locks, nothing is held: writes are atomic anyway.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    with contextlib.suppress(OSError, NotImplementedError):
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout:
            console.say(f"images: another process decodes the same images into {folder}; waiting for it")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def reopen(folder: Path, key: str, source: str) -> Images | None:
    """Open a finished store, or return None when there is none, or one of another key, or a damaged one."""
    store, folder = folder, folder / key
    if not (folder / INDEX).exists():
        return None
    try:
        index = files.read_json(folder / INDEX)
        if index["key"] != key:
            return None
        if index.get("sha256") not in (None, files.signature(index)):
            raise ValueError(f"{INDEX} was changed or damaged")
        splits = {name: _open_split(folder / f"{name}.npy", entry) for name, entry in index["parts"].items()}
        images = Images(
            source=source,
            train=splits["train"],
            test=splits.get("test"),
            classes=tuple(index["classes"]) if index["classes"] else None,
            excluded=tuple(Excluded(**entry) for entry in index["excluded"]),
            notes=tuple(index["notes"]),
            tones=Tones.of(index["tones"]) if index.get("tones") else None,
            listed=folder / INDEX,
        )
    except Exception as error:  # torn by hand or by the disk
        console.say(f"images: {folder} is damaged ({files.reason(error)}): decoded again")
        return None
    if store == image_cache():
        use(folder)
    return images


def _open_split(path: Path, entry: dict[str, Any]) -> Split:
    images = files.read_array(path, mapped=True)
    if list(images.shape) != entry["shape"] or images.dtype != np.uint8:
        raise ValueError(f"{path} is not the array of its index")
    if len(entry["names"]) != len(images) or not all(isinstance(name, str) for name in entry["names"]):
        raise ValueError("its index does not name all images")
    "".join(entry["names"]).encode(errors="surrogateescape")  # as a fingerprint does
    labels = None if entry["labels"] is None else np.array(entry["labels"], np.int64)
    split = Split(images=images, names=entry["names"], labels=labels, columns=entry["columns"])
    if split.fingerprint != entry["fingerprint"]:
        raise ValueError(f"the bytes of {path.name} have changed")
    return split


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
        _prepare(folder, total * plan.channels * plan.size**2)
    with console.progress("reading images", total, "images") as bar, strict_pillow(plan.max_pixels):
        for name, part in plan.parts.items():
            rows = _rows(part, name, tally, bar)
            shape = (len(part.names), plan.channels, plan.size, plan.size)
            if folder is None:
                arrays[name] = collect(rows, shape)
            else:
                write_rows(folder / f"{name}.npy", rows, shape)
    check_enough(plan.source, len(tally.names["train"]), tally.excluded)
    labels = {name: np.array(tally.labels[name], np.int64) for name, part in plan.parts.items() if part.labelled}
    require_learnable(plan.source, plan.classes, plan.parts["train"].labels, labels.get("train"), labels.get("test"))
    if folder is not None:
        arrays = {name: files.read_array(folder / f"{name}.npy", mapped=True) for name in plan.parts}
    splits = {
        name: Split(
            images=arrays[name],
            names=tally.names[name],
            labels=labels.get(name),
            columns={column: [values[row] for row in tally.rows[name]] for column, values in part.columns.items()},
        )
        for name, part in plan.parts.items()
        if tally.names[name]
    }
    index = _index(plan, tally, splits)
    if store is not None and folder is not None:
        for name, entry in index["parts"].items():
            path = folder / f"{name}.npy"
            entry |= {"bytes": path.stat().st_size, "sha256": files.file_hash(path)}
        files.write_text(folder / INDEX, json.dumps(files.sealed(index)))
        if plan.also not in (None, plan.key):
            # Who states the size that was chosen here asks for the same images: an encoder is used at its own size.
            files.write_text(store / f"{plan.also}{ALIAS}", plan.key)
        if store == image_cache():
            use(folder)
            size = sum(path.stat().st_size for path in folder.glob("*.npy"))
            console.say(f"images: kept decoded for later commands, {size / 1e6:,.0f} MB in {folder} (--images.store)")
    return Images(
        source=plan.source,
        train=splits["train"],
        test=splits.get("test"),
        classes=plan.classes,
        excluded=tuple(tally.excluded),
        notes=tuple(index["notes"]),
        tones=plan.tones,
        listed=None if folder is None else folder / INDEX,
    )


def _prepare(folder: Path, needed: int) -> None:
    (folder / INDEX).unlink(missing_ok=True)
    files.sweep(folder)
    if folder.parent == image_cache() and not has_room(folder.parent, needed):
        raise NoRoomError(f"{needed / 1e9:.1f} GB of decoded images")
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"'{folder}' has {free / 1e9:.1f} GB free, the decoded images need {needed / 1e9:.1f} GB: "
            "make room, choose another --images.store, or lower --images.size or --images.limit"
        )


def _rows(part: Part, split: str, tally: _Tally, bar: console.Progress) -> Iterator[np.ndarray]:
    """Yield uint8 [C, H, W] of every readable image in order, and note the others."""
    names, labels = tally.names.setdefault(split, []), tally.labels.setdefault(split, [])
    rows = tally.rows.setdefault(split, [])

    def attempt(index: int) -> tuple[Decoded, int] | UnreadableImage:
        try:
            return part.read(index)
        except UnreadableImage as error:
            return error

    for row, (name, result) in enumerate(zip(part.names, each(attempt, range(len(part.names))))):
        bar.advance()
        if isinstance(result, UnreadableImage):
            tally.excluded.append(Excluded(name=name, reason=str(result), passing=result.passing))
            continue
        decoded, label = result
        tally.conversions.update(decoded.conversions)
        names.append(name)
        labels.append(label)
        rows.append(row)
        yield decoded.pixels


def _index(plan: Plan, tally: _Tally, splits: Mapping[str, Split]) -> dict[str, Any]:
    parts = {
        name: {
            "shape": list(split.images.shape),
            "names": tally.names[name],
            "labels": tally.labels[name] if split.labels is not None else None,
            "columns": dict(split.columns),
            "fingerprint": split.fingerprint,
        }
        for name, split in splits.items()
    }
    notes = list(plan.notes)
    notes += [f"{name}: {count} images" for name, count in sorted(tally.conversions.items())]
    if tally.excluded:
        notes.append(excluded_note(tally.excluded))
    return {
        "key": plan.key,
        "parts": parts,
        "classes": plan.classes,
        "excluded": [entry.record() | ({"passing": True} if entry.passing else {}) for entry in tally.excluded],
        "notes": notes,
        "tones": None if plan.tones is None else plan.tones.record(),
    }
