"""Are the files of a run those that were made? Each is compared with its hash, and what was made from it is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from clsp import files
from clsp.engine.record import Record, read_record
from clsp.errors import UserError
from clsp.files.ledger import RECORD, SEAL, ledgers_above
from clsp.positives.bank import read_manifest

INDEX = "index.json"
"""The ledger of decoded images."""

_ROLES = {
    "diffusion model": ("unet", ("model_index.json", "unet/*", "scheduler/*", "condition/*")),
    "synthetic positives": ("bank", ("manifest.json", "ids.npy", "shard-*.npy")),
    "encoder": ("encoder", ("encoder.safetensors", "config.json")),
}
"""What later stages call the result of a stage, and which of its files they read."""


@dataclass(frozen=True)
class Finding:
    """A file that is not as it was made."""

    path: Path
    what: str
    """What is wrong with it."""
    ledger: Path
    """What says so."""
    entry: files.Entry | None = None
    """How it was made; None of a ledger itself."""
    dependents: tuple[Path, ...] = ()
    """Folders and files that were made from it."""

    def __str__(self) -> str:
        made = ", ".join(map(str, self.dependents))
        return f"{self.path} {self.what}; made from it: {made or 'nothing'}"


@dataclass
class Verdict:
    """What was found."""

    findings: list[Finding] = field(default_factory=list)
    compared: int = 0
    """Files that were compared with their hashes."""
    unknown: list[Path] = field(default_factory=list)
    """Stages without hashes: not finished, or an older version's."""


def verify(place: Path) -> Verdict:
    """Compare every file in ``place`` with the hash that it was made with.

    Args:
        place: a run, a study, a stage, a bank, an encoder, or a folder that holds any of them.

    Raises:
        UserError: nothing of clsp is there.
    """
    verdict, seen = Verdict(), set()
    for ledger, listed in _ledgers(place.absolute(), verdict):
        for name, entry in listed.items():
            path = ledger.parent / name
            if path in seen or not path.is_relative_to(place.absolute()):
                continue
            seen.add(path)
            verdict.compared += 1
            if what := _wrong(path, entry):
                verdict.findings.append(Finding(path, what, ledger, entry))
    if not seen and not verdict.findings and not verdict.unknown:
        raise UserError(f"{place} holds nothing that clsp made; give the --out of a command")
    verdict.findings = [replace(finding, dependents=dependents(finding)) for finding in verdict.findings]
    return verdict


def study_of(path: Path) -> Path:
    """The nearest folder around ``path`` that a command made: a run's, or a stage's own."""
    near = list(path.parents)[:6]
    for marks in ((SEAL,), ("recipe.yaml", "images.json"), ("recipe.yaml",)):
        for folder in near:
            if all((folder / mark).is_file() for mark in marks):
                return folder
    return path.parent


def _wrong(path: Path, entry: files.Entry) -> str:
    """What is wrong with a file; empty where nothing is."""
    try:
        size = path.stat().st_size
        if entry.size >= 0 and size != entry.size:
            return f"has {size:,} bytes in place of {entry.size:,}"
        return "" if files.file_hash(path) == entry.sha256 else "is damaged: its hash is another one"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({files.reason(error)})"


def _ledgers(place: Path, verdict: Verdict) -> Iterator[tuple[Path, dict[str, files.Entry]]]:
    """All ledgers in and around ``place`` with what they list; those that are damaged are findings themselves."""
    paths = sorted(path for name in (RECORD, SEAL) for path in place.rglob(name))
    for path in paths:
        try:
            listed = dict(files.ledger_of(path).files)
        except UserError as error:
            verdict.findings.append(Finding(path, f"is damaged: {error}", path))
            listed = {}
        verdict.unknown += [] if listed or path.name == SEAL else [path.parent]
        verdict.compared += 1
        yield path, listed
    yield from ((path, _listed_images(path, verdict)) for path in sorted(place.rglob(INDEX)))
    yield from ((path, _listed_shards(path)) for path in sorted(place.rglob("manifest.json")))
    with suppress(UserError):
        yield from ((ledger.path, dict(ledger.files)) for ledger in ledgers_above(place) if ledger.folder != place)


def _listed_images(path: Path, verdict: Verdict) -> dict[str, files.Entry]:
    """The arrays that the index of decoded images lists; none of an index that is nobody's or an older version's."""
    try:
        index: Any = json.loads(path.read_bytes())
        if not isinstance(index, dict) or not {"key", "parts", "sha256"} <= index.keys():
            return {}
        if index["sha256"] != files.signature(index):
            raise ValueError("its hash is another one")
        parts = {f"{name}.npy": part for name, part in index["parts"].items()}
        found = {name: files.Entry(part["bytes"], part["sha256"]) for name, part in parts.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        if (path.parent / "train.npy").exists():
            verdict.findings.append(Finding(path, f"is damaged: {files.reason(error)}", path))
        return {}
    verdict.compared += 1
    return found


def _listed_shards(path: Path) -> dict[str, files.Entry]:
    """The shards that a bank's manifest lists: of an older version they are all that is known."""
    try:
        return {shard["file"]: files.Entry(-1, shard["sha256"]) for shard in read_manifest(path.parent)["shards"]}
    except UserError:
        return {}


def dependents(finding: Finding) -> tuple[Path, ...]:
    """Name what was made from a file: folders of stages, and the tables of its study."""
    root, owner = study_of(finding.path), finding.ledger.parent
    stages = dict(_records(root))
    name = finding.path.relative_to(owner).as_posix()
    if finding.ledger.name == INDEX:
        return tuple(sorted(stages))
    if owner not in stages:
        return ()
    made = _made_from(owner, stages, name)
    if not made and stages[owner].stage == "evaluation" and name == "metrics.json":
        made = {owner}
    tables = [path for path in (root / "comparison.json", root / "encoder") if made and path.exists()]
    if root / "findings" in made:
        tables.append(root / "embeddings.parquet")
    return (*sorted(made - {owner}), *tables)


def _made_from(owner: Path, stages: dict[Path, Record], name: str | None) -> set[Path]:
    """Folders of the stages that read the result of the stage in ``owner``, and of those that read theirs."""
    kind = next((kind for kind in _ROLES if stages[owner].stage.startswith(kind)), None)
    if kind is None or (name is not None and not any(fnmatch(name, pattern) for pattern in _ROLES[kind][1])):
        return set()
    role, found = _ROLES[kind][0], set()
    for folder, record in stages.items():
        inside = role != "encoder" or folder.is_relative_to(owner) or record.stage in ("pictures", "findings")
        if role in record.inputs and inside and folder != owner:
            found |= {folder} | _made_from(folder, stages, None)
    return found


def _records(root: Path) -> Iterator[tuple[Path, Record]]:
    """The stages of a study that can be read, and were not set aside."""
    for path in sorted(root.rglob(RECORD)):
        with suppress(UserError):
            record = read_record(path.parent)
            if record is not None and "superseded" not in path.relative_to(root).parts:
                yield path.parent, record
