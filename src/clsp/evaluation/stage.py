"""The evaluation stage of a run: all arms on the same task, their differences, and pictures of the embedding."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsp import console, distributed, files
from clsp.encoders.export import read_spec
from clsp.engine.stage import stage
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluate import Result, evaluate_encoder
from clsp.evaluation.judge import judge_candidates
from clsp.evaluation.look import draw_map, draw_neighbours
from clsp.evaluation.score import difference
from clsp.evaluation.task import Task, make_task
from clsp.images.imageset import Images, split_fingerprint
from clsp.positives.bank import PositiveBank

NO_LABELS = "linear probe and kNN need labels, and this source has none: skipped"


def evaluate_run(
    out: Path,
    arms: dict[str, Path],
    images: Images,
    bank: PositiveBank | None,
    config: EvaluateConfig,
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Evaluate the arms (the main one first) into ``out/evaluation`` and return what metrics.json holds.

    Args:
        out: the run's folder.
        arms: folder of the encoder by arm.
        images: the data; without labels the accuracies are skipped, and it is said.
        bank: the bank, whose candidates a classifier of real labels judges.
        config: the protocol.
        seed: chooses the images shown.
        device: where the networks work.
    """
    folder = out / "evaluation"
    if distributed.rank() != 0:
        return {}
    inputs = {arm: files.file_hash(path / "encoder.safetensors")[:16] for arm, path in arms.items()}
    inputs["data"] = images.fingerprint
    inputs["test"] = split_fingerprint(images.test) if images.test is not None else "none"
    settings, defaults = {"seed": seed, **_settings(config)}, _settings(EvaluateConfig())
    with stage("evaluation", folder, settings=settings, inputs=inputs, defaults=defaults) as current:
        if not current.finished:
            _evaluate(folder, arms, images, bank, config, seed, device)
    metrics: dict[str, Any] = files.read_json(folder / "metrics.json")
    return metrics


def _settings(config: EvaluateConfig) -> dict[str, Any]:
    """The values that decide the numbers."""
    return {n: v for n, v in asdict(config).items() if n != "batch_size"}


def _evaluate(
    folder: Path,
    arms: dict[str, Path],
    images: Images,
    bank: PositiveBank | None,
    config: EvaluateConfig,
    seed: int,
    device: torch.device | str,
) -> None:
    task = make_task(images, config, seed=seed)
    results: dict[str, Result] = {}
    for arm, path in arms.items():
        console.say(f"evaluation: {arm}")
        cache = folder / "features" / f"{arm}.safetensors"
        results[arm] = evaluate_encoder(path, task, config, cache=cache, device=device)
    main = next(iter(arms))
    metrics: dict[str, Any] = {"arm": main, "controls": {}}
    if task.classes:
        metrics |= results[main].record()
        controls = [arm for arm in arms if arm != main]
        metrics["controls"] = {arm: results[arm].record() for arm in controls}
        metrics["differences"] = {arm: _differences(results[main], results[arm]) for arm in controls}
        _save_correct(folder, results)
        if bank is not None and config.classifier_epochs:
            spec = read_spec(arms[main])
            metrics["candidates"] = judge_candidates(
                bank, images, task, spec, epochs=config.classifier_epochs, seed=seed, device=device
            )
    else:
        metrics["skipped"] = NO_LABELS
        console.say(f"evaluation: {NO_LABELS}")
    _draw(folder, results[main], task, images, seed)
    files.write_json(folder / "metrics.json", metrics)


def _differences(main: Result, control: Result) -> dict[str, Any]:
    assert main.linear and control.linear and main.knn and control.knn
    return {"linear": difference(main.linear, control.linear), "knn": difference(main.knn, control.knn)}


def _save_correct(folder: Path, results: dict[str, Result]) -> None:
    """Keep which test images each arm got right, so that paired statistics can be made again."""
    for arm, result in results.items():
        assert result.linear is not None
        assert result.knn is not None
        both = np.stack([result.linear.correct, result.knn.correct])
        files.write_array(folder / "features" / f"{arm}.correct.npy", np.packbits(both, axis=1))


def _draw(folder: Path, result: Result, task: Task, images: Images, seed: int) -> None:
    console.say("evaluation: drawing the map and the neighbours")
    draw_neighbours(result.features, task, folder / "neighbours.png", seed=seed)
    draw_map(result.features, task, images.classes, folder, seed=seed)


def table(metrics: dict[str, Any]) -> str:
    """Lay out the accuracies of the arms, and the retrieval's precision, as plain text."""
    if "skipped" in metrics:
        return str(metrics["skipped"])
    main = metrics["arm"]
    rows = {**metrics["controls"], main: metrics}
    lines = [f"{'':<16}{'linear':>8}  {'95 % interval':<16}{'kNN':>8}{'mAP':>8}   {main} minus it, linear"]
    for arm, record in rows.items():
        linear, gap = record["linear"], metrics.get("differences", {}).get(arm)
        cells = f"{arm:<16}{linear['top1']:>8.2f}  {linear['low']:.2f} to {linear['high']:.2f}".ljust(42)
        cells += f"{record['knn']['top1']:>8.2f}"
        cells += f"{record['retrieval']['map']:>8.2f}" if "retrieval" in record else f"{'':>8}"
        if gap:
            cells += f"   {gap['linear']['mean']:+.2f} ({gap['linear']['low']:+.2f} to {gap['linear']['high']:+.2f})"
        lines.append(cells.rstrip())
    lines += [_few(arm, few) for arm, record in rows.items() for few in record.get("few_labels", [])]
    return "\n".join(lines)


def _few(arm: str, few: dict[str, Any]) -> str:
    """One line: what an arm reaches with one share of the labels."""
    kinds = {"probe": few["probe"], "fine-tuned": few["fine_tuned"]}
    shown = [f"{name} {v['mean']:.2f} ({v['low']:.2f} to {v['high']:.2f})" for name, v in kinds.items() if v]
    return f"{arm:<16}top-1 of {few['labels']} labels, {few['draws']} draws: {', '.join(shown)}"
