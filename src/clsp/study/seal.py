"""What stands around the stages of a study: its tables, its page and the encoder to take away, with their hashes.

A stage keeps the hashes of its files in ``stage.json``; these are kept in ``checksums.json``, which is removed before
the first of them changes and comes back after the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clsp import distributed, files
from clsp._version import __version__

_OWN = ("recipe.yaml", "images.json", "report.html")
"""What stands beside a stage's own files, which its record has."""

SEALED = (*_OWN, "comparison.json", "comparison.md", "embeddings.parquet", "evaluation/metrics.json", "encoder/*")
"""Patterns of their names."""


def seal(folder: Path, command: str) -> None:
    """Write down the hashes of what stands around the stages in ``folder``; the first process does.

    Args:
        folder: a study's, or a stage's own.
        command: what made it.
    """
    if distributed.rank() == 0:
        own = (folder / "stage.json").exists()  # a stage's folder keeps its own hashes
        made = files.entries(folder, _OWN if own else SEALED)
        files.write_json(folder / files.SEAL, files.sealed({"command": command, "version": __version__, "files": made}))


def unseal(folder: Path) -> None:
    """Forget the hashes: what they are of is about to change."""
    if distributed.rank() == 0:
        (folder / files.SEAL).unlink(missing_ok=True)


@contextmanager
def changing(folder: Path, name: str) -> Iterator[None]:
    """Change one file in this block and write down its new hash; the others' stay, whatever they are now."""
    path = folder / files.SEAL
    record = files.read_json(path, dict[str, Any]) if path.exists() else None
    ledger = files.ledger_of(path)
    yield
    if record is not None and name in ledger.files:
        record["files"] |= files.entries(folder, [name])
        files.write_json(path, files.sealed({key: value for key, value in record.items() if key != "sha256"}))
