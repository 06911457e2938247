"""The files of a study, as the report reads them. Every one is optional; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clsp import files

_FIX = "delete it, and repeat the command that made it"


def _order(stage: str) -> tuple[int, str]:
    """Diffusion model, bank, what was trained, and what was measured of it, as they were made."""
    made = ("diffusion", "positives")
    return (made.index(stage) if stage in made else 2 + stage.endswith("evaluation"), stage)


def mapping(value: object) -> dict[str, Any]:
    """Return ``value`` if it is a dictionary, else an empty one: what is missing says nothing."""
    return dict(value) if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class Folder:
    """The files of one study, read when they are asked for."""

    path: Path

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object in the file ``name``, empty if there is no such file."""
        path = self.path / name
        return files.read_json(path, dict[str, Any], fix=_FIX) if path.exists() else {}

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The records of a JSONL file."""
        return files.read_jsonl(self.path / name)

    def text(self, name: str) -> str:
        """The text of a file, empty if there is none."""
        path = self.path / name
        return files.read_text(path, errors="replace", fix=_FIX) if path.exists() else ""

    def picture(self, name: str) -> Path | None:
        """The path of a picture, if it exists."""
        path = self.path / name
        return path if path.is_file() else None

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe."""
        path = self.path / "recipe.yaml"
        return files.read_yaml(path, fix=_FIX) if path.exists() else {}

    @cached_property
    def images(self) -> dict[str, Any]:
        """What was found while reading the data."""
        return self.json("images.json")

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """What was measured of the main arm's first run, and of the others'."""
        return self.json("evaluation/metrics.json")

    @cached_property
    def stages(self) -> dict[str, dict[str, Any]]:
        """The ``stage.json`` of every stage that has one, by its folder relative to this one, in order."""
        found = [
            path
            for pattern in ("*", "arms/*/*", "arms/*/*/evaluation")
            for path in self.path.glob(f"{pattern}/stage.json")
        ]
        names = sorted((path.parent.relative_to(self.path).as_posix() for path in found), key=_order)
        return {name: self.json(f"{name}/stage.json") for name in names}

    @property
    def finished(self) -> float | None:
        """Seconds since the epoch at which the last stage was written."""
        paths = [self.path / name / "stage.json" for name in self.stages]
        return max((path.stat().st_mtime for path in paths), default=None)

    @property
    def source(self) -> str:
        """The data as the user named it."""
        named = mapping(self.recipe.get("data")).get("source")
        return str(self.images.get("source") or named or "unknown data")

    @property
    def title(self) -> str:
        """The data in few words: of a long path, its last part."""
        is_path = self.source.startswith(("/", ".", "~"))
        return (Path(self.source).name if is_path else "") or self.source
