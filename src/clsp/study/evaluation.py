"""The evaluation of a study, as stages: of every cell, beside what it trained; and the pictures of the main arm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsp import console, distributed, files
from clsp.encoders.export import read_spec
from clsp.engine.record import read_record
from clsp.engine.stage import stage
from clsp.evaluation.evaluate import evaluate
from clsp.evaluation.evaluators import EVALUATORS
from clsp.evaluation.judge import judge_candidates
from clsp.evaluation.look import draw_map, draw_neighbours
from clsp.evaluation.measure import Metrics
from clsp.recipes.arms import Arm
from clsp.study.study import Study


def each_of(cell: Path, name: str) -> Path:
    """The file with a measure of every test image, so that pairs of cells can be compared again."""
    return cell / "evaluation" / "each" / f"{name}.npy"


def evaluate_cell(study: Study, arm: Arm, seed: int) -> None:
    """Evaluate what a cell trained: ``metrics.json``, and each measure of every test image.

    The first process does it, the others wait. Evaluators that came since the stage was finished are asked as well.
    """
    config, cell = study.prepared.recipe.evaluate, study.folder(arm, seed)
    encoder, there = study.identity(arm, seed)
    made, folder = {"encoder": encoder, "test": study.test}, cell / "evaluation"
    named = study.prepared.recipe.seed
    makes = ("metrics.json", "each/*")
    with stage("evaluation", folder, config, seed=named, data=study.data, made=made, makes=makes) as current:
        with files.foreign(folder / "stage.json"):
            asked = [str(name) for name in current.facts.get("evaluators", [])]
        if not there or distributed.rank() != 0 or set(EVALUATORS.names()) <= set(asked):
            return
        path = folder / "metrics.json"
        result = evaluate(study.trained(arm, seed), study.task, config, without=asked)
        known = dict(files.read_json(path, Metrics)) if asked else {"measures": {}}
        found = result.record()
        files.write_json(path, {**known, **found, "measures": known["measures"] | found["measures"]})
        for one in result.measures:
            if one.each is not None:
                files.write_array(each_of(cell, one.name), one.each)
        current.facts = {"evaluators": list(EVALUATORS.names())}
        if current.finished:
            current.save("finished")


def show(study: Study) -> dict[str, Any]:
    """Draw map and neighbours of the main arm's first run, and let a classifier of real labels judge the bank.

    The first process does it.

    Returns:
        What the judge says of the candidates, see `clsp.evaluation.judge`; empty where it was not asked.
    """
    recipe, arm, seed, folder = study.prepared.recipe, study.main, study.seeds[0], study.out / "evaluation"
    bank, images, epochs = study.bank, study.prepared.images, recipe.evaluate.classifier_epochs
    encoder, there = study.identity(arm, seed)
    made = {"encoder": encoder, "test": study.test, "bank": bank.fingerprint if bank else "none"}
    if not there:
        drawn = read_record(folder)
        return (drawn.facts.get("candidates") or {}) if drawn else {}
    settings, config = {"classifier_epochs": epochs}, recipe.evaluate
    with stage(
        "pictures",
        folder,
        config,
        seed=recipe.seed,
        data=study.data,
        made=made,
        settings=settings,
        makes=("neighbours.png", "map.json", "map_thumbnails.png", "features.safetensors"),
        alone=True,
    ) as current:
        if not current.finished:
            trained, data = study.trained(arm, seed), study.task
            console.say("evaluation: drawing the map and the neighbours")
            draw_neighbours(trained.test, data, folder / "neighbours.png", seed=recipe.seed)
            draw_map(trained.test, data, images.classes, folder, seed=recipe.seed)
            if bank is not None and data.classes and epochs and trained.kind == "encoder":
                spec, device = read_spec(trained.folder), study.device
                judged = judge_candidates(bank, images, data, spec, epochs=epochs, seed=recipe.seed, device=device)
                current.facts = {"candidates": judged}
    return current.facts.get("candidates") or {}
