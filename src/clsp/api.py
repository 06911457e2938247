"""The stages as plain functions: ``clsp.run(data=..., out=...)`` and its parts, each on a SOURCE and folders.

Settings are dotted names of a recipe: ``clsp.pretrain(data="photos", out="enc", settings={"pretrain.lr": 0.1})``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsp import files, workflow
from clsp.recipes.options import expand

if TYPE_CHECKING:
    from clsp.evaluation.evaluate import Result
    from clsp.positives.bank import PositiveBank

Settings = Mapping[str, Any]
Place = str | Path


def _overrides(settings: Settings | None) -> list[str]:
    """Write settings as options, through the same checks as the command line's."""
    texts = [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in (settings or {}).items()
    ]
    return expand(texts, None)


def run(
    data: str,
    out: Place,
    *,
    recipe: str | None = None,
    settings: Settings | None = None,
    diffusion: str | None = None,
) -> dict[str, Any]:
    """Do all stages; a second call finishes what is missing. See `clsp.workflow.run`.

    Returns:
        What ``OUT/evaluation/metrics.json`` holds.
    """
    workflow.run(data, out, recipe=recipe, overrides=_overrides(settings), diffusion=diffusion)
    metrics: dict[str, Any] = files.read_json(Path(out) / "evaluation" / "metrics.json")
    return metrics


def train_diffusion(data: str, out: Place, *, recipe: str | None = None, settings: Settings | None = None) -> Path:
    """Train the unconditional diffusion model; return the diffusers pipeline's folder."""
    prepared = workflow.prepare(data, recipe=recipe, overrides=_overrides(settings))
    return workflow.diffusion_stage(prepared, Path(out))


def synthesize(
    data: str, diffusion: Place, out: Place, *, recipe: str | None = None, settings: Settings | None = None
) -> PositiveBank:
    """Draw the bank of synthetic positives with the model in ``diffusion`` (a diffusers folder or hub id)."""
    prepared = workflow.prepare(data, recipe=recipe, overrides=_overrides(settings))
    return workflow.bank_stage(prepared, diffusion, Path(out))


def pretrain(
    data: str,
    out: Place,
    *,
    positives: Place | None = None,
    recipe: str | None = None,
    settings: Settings | None = None,
) -> Path:
    """Train an encoder; return its folder.

    Args:
        data: a SOURCE.
        out: the encoder's folder.
        positives: None, a bank's folder, or the name of another source, see `clsp.workflow.encoder_stage`.
        recipe: see `clsp.workflow.prepare`.
        settings: dotted names, such as ``{"pretrain.method": "moco"}``.
    """
    prepared = workflow.prepare(data, recipe=recipe, overrides=_overrides(settings))
    return workflow.encoder_stage(prepared, Path(out), positives)


def evaluate(encoder: Place, data: str, *, recipe: str | None = None, settings: Settings | None = None) -> Result:
    """Measure a frozen encoder: ``evaluate(...)["linear"].value``; nothing that needs labels where there are none."""
    folder = workflow.encoder_folder(encoder)
    prepared = workflow.prepare_for(folder, data, recipe=recipe, overrides=_overrides(settings))
    return workflow.evaluate(folder, prepared)
