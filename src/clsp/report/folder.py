"""What the report reads from the folder of a run. Every file is optional; nothing is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from clsp import files
from clsp.errors import UserError

Json = Mapping[str, Any]

STAGES = ("diffusion", "positives", "encoder", "evaluation")
"""The stages that every run has, in order; the controls come between encoder and evaluation."""


def mapping(value: object) -> dict[str, Any]:
    """Return ``value`` if it is a dictionary, else an empty one: what is missing says nothing."""
    return dict(value) if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class Folder:
    """The files of one run, read when they are asked for."""

    path: Path

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object in the file ``name``, empty if there is no such file."""
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            return mapping(files.read_json(path))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is no valid JSON ({error}); delete it and repeat its stage") from error

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The records of a JSONL file."""
        return [record for record in files.read_jsonl(self.path / name) if isinstance(record, dict)]

    def text(self, name: str) -> str:
        """The text of a file, empty if there is none."""
        path = self.path / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def picture(self, name: str) -> Path | None:
        """The path of a picture, if it exists."""
        path = self.path / name
        return path if path.is_file() else None

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe."""
        try:
            return mapping(yaml.safe_load(self.text("recipe.yaml")))
        except yaml.YAMLError as error:
            raise UserError(f"{self.path}/recipe.yaml is no valid YAML ({error}); repeat the run") from error

    @cached_property
    def images(self) -> dict[str, Any]:
        """What was found while reading the data."""
        return self.json("images.json")

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """The results."""
        return self.json("evaluation/metrics.json")

    @cached_property
    def stages(self) -> dict[str, dict[str, Any]]:
        """The ``stage.json`` of every stage that has one, by its folder relative to the run, in order."""
        found = [path.parent.relative_to(self.path) for path in self.path.glob("*/stage.json")]
        found += [path.parent.relative_to(self.path) for path in self.path.glob("controls/*/stage.json")]
        names = sorted(str(folder) for folder in found)
        names.sort(key=lambda name: STAGES.index(name) if name in STAGES else 2.5)
        return {name: self.json(f"{name}/stage.json") for name in names}

    @cached_property
    def arm(self) -> str:
        """The name of the arm that the run is about."""
        settings = mapping(self.stages.get("encoder", {}).get("settings"))
        pretrain = mapping(self.recipe.get("pretrain"))
        named = self.evaluation.get("arm") or settings.get("arm")
        if named or not pretrain.get("method"):
            return str(named or "encoder")
        return f"{pretrain['method']}{'+bank' if (self.path / 'positives').is_dir() else ''}"

    @cached_property
    def arms(self) -> dict[str, str]:
        """The folder of each arm, the arm of the run last."""
        names = {path.name for path in self.path.glob("controls/*") if path.is_dir()}
        names |= set(mapping(self.evaluation.get("controls")))
        return {name: f"controls/{name}" for name in sorted(names - {self.arm})} | {self.arm: "encoder"}

    @cached_property
    def colours(self) -> dict[str, str]:
        """The CSS class of each arm: the run's own is always the accent colour."""
        return {arm: f"arm-{index % 6}" for index, arm in enumerate([self.arm, *list(self.arms)[:-1]])}

    @property
    def finished(self) -> float | None:
        """Seconds since the epoch at which the last stage was written."""
        names = ["evaluation/metrics.json", *(f"{name}/stage.json" for name in self.stages)]
        paths = [self.path / name for name in names]
        return max((path.stat().st_mtime for path in paths if path.is_file()), default=None)

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
