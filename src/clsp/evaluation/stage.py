"""The evaluation as stages: of one that was trained, beside it; and the pictures and the judge of a whole study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clsp import console, distributed, files
from clsp.encoders.export import read_spec
from clsp.engine.stage import stage
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluate import evaluate
from clsp.evaluation.evaluators import EVALUATORS
from clsp.evaluation.judge import judge_candidates
from clsp.evaluation.look import draw_map, draw_neighbours
from clsp.evaluation.task import Task
from clsp.evaluation.trained import Trained
from clsp.images.imageset import Images
from clsp.positives.bank import PositiveBank


def evaluate_into(
    folder: Path,
    trained: Callable[[], Trained] | None,
    task: Callable[[], Task],
    config: EvaluateConfig,
    *,
    seed: int,
    data: str,
    made: dict[str, str],
) -> None:
    """Evaluate what was trained into ``folder``: ``metrics.json``, and each measure of every test image.

    The first process does it, the others wait. Evaluators that came since the stage was finished are asked as well.

    Args:
        folder: the stage's.
        trained: makes it ready; None where what was evaluated before is gone since.
        task: the images with their columns.
        config: the protocol.
        seed: the task's.
        data: the fingerprint of the data.
        made: fingerprints of what was trained, and of the test images.
    """
    with stage("evaluation", folder, config, seed=seed, data=data, made=made) as current:
        asked = current.facts.get("evaluators", [])
        if trained is None or distributed.rank() != 0 or set(EVALUATORS.names()) <= set(asked):
            return
        result, path = evaluate(trained(), task(), config, without=asked), folder / "metrics.json"
        known = files.read_json(path) if asked else {}
        found = result.record()
        files.write_json(path, {**known, **found, "measures": known.get("measures", {}) | found["measures"]})
        for one in result.measures:
            if one.each is not None:
                files.write_array(each_of(folder, one.name), one.each)
        current.facts = {"evaluators": list(EVALUATORS.names())}
        if current.finished:
            current.save("finished")


def each_of(folder: Path, name: str) -> Path:
    """The file of an evaluation's folder with a measure of every test image, so that pairs can be compared again."""
    return folder / "each" / f"{name}.npy"


def show(
    folder: Path,
    trained: Callable[[], Trained],
    task: Callable[[], Task],
    images: Images,
    bank: PositiveBank | None,
    config: EvaluateConfig,
    *,
    seed: int,
    data: str,
    made: dict[str, str],
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Draw the map and the neighbours of what was trained, and let a classifier of real labels judge the bank.

    The first process does it.

    Args:
        folder: the stage's.
        trained: makes it ready.
        task: the images with their columns.
        images: the data that the bank's anchors are of.
        bank: the bank; None where there is none.
        config: how long the classifier is trained.
        seed: chooses the images shown.
        data: the fingerprint of the data.
        made: fingerprints of what was trained, of the test images and of the bank.
        device: where the classifier works.

    Returns:
        What the judge says of the candidates, see `clsp.evaluation.judge`; empty where it was not asked.
    """
    settings = {"classifier_epochs": config.classifier_epochs}
    with stage("pictures", folder, config, seed=seed, data=data, made=made, settings=settings, alone=True) as current:
        if not current.finished:
            model, parts = trained(), task()
            console.say("evaluation: drawing the map and the neighbours")
            draw_neighbours(model.test, parts, folder / "neighbours.png", seed=seed)
            draw_map(model.test, parts, images.classes, folder, seed=seed)
            if bank is not None and parts.classes and config.classifier_epochs and model.kind == "encoder":
                epochs, spec = config.classifier_epochs, read_spec(model.folder)
                judged = judge_candidates(bank, images, parts, spec, epochs=epochs, seed=seed, device=device)
                current.facts = {"candidates": judged}
    return current.facts.get("candidates") or {}
