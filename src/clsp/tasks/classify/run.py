"""``clsp classify``: a classifier with all that stands around it, in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsp import distributed, files
from clsp.positives.bank import PositiveBank
from clsp.settings.values import Tree
from clsp.study.record import command_line, describe, write_record
from clsp.study.seal import seal, unseal
from clsp.tasks.classify.config import ClassifyRecipe
from clsp.tasks.classify.page import build_page
from clsp.tasks.classify.stage import classify
from clsp.tasks.prepare import prepare_task
from clsp.text import quoted


def run(
    data: str,
    out: Path,
    *,
    recipe: str | None = None,
    overrides: Tree | None = None,
    encoder: str | None = None,
    bank: str | None = None,
) -> Path:
    """Train a classifier, measure it, list the labels that are probably wrong, and write the page.

    Args:
        data: a SOURCE with labels.
        out: the classifier's folder; a second call goes on where a first one stopped.
        recipe: a recipe of the task or a file; None: the SOURCE's own, else ``folder``.
        overrides: nested settings.
        encoder: a pretrained encoder's folder, a run, ``timm``, or None for random weights.
        bank: a bank's folder.

    Returns:
        ``out``.

    Raises:
        UserError: the data have no labels, or a setting is wrong.
    """
    given = {"data": data, "out": str(out), "encoder": encoder, "positives": bank, "recipe": recipe}
    command = command_line("classify", given, overrides, config=ClassifyRecipe)
    wanted: dict[str, Any] = {"recipe": recipe, "overrides": overrides, "encoder": encoder}
    prepared = prepare_task("classify", ClassifyRecipe, data, store=out / "images", **wanted)
    describe(prepared.images, out / "images.json")
    chosen = prepared.recipe
    drawn = None if bank is None else PositiveBank.open(bank)
    more: dict[str, Any] = {"seed": chosen.seed, "folder": out, "encoder": encoder, "bank": drawn}
    classify(prepared.images, chosen.classify, chosen.hardware, **more)
    unseal(out)
    write_record(out, prepared, data, command)
    if distributed.rank() == 0:
        files.write_text(out / "report.html", build_page(out))
    seal(out, command)
    return out


def told(out: Path) -> list[str]:
    """What came out, and what to do next, a line each.

    Raises:
        UserError: ``metrics.json`` is damaged.
    """
    path = out / "metrics.json"
    found = files.read_json(path, dict[str, Any])
    with files.foreign(path, "run 'clsp verify' on the folder", what="holds what no run writes"):
        accuracy, listed = found["accuracy"], found["suspects"]
        lines = [
            f"accuracy: {accuracy['top1']:.2f} % (95 % interval {accuracy['low']:.2f} to {accuracy['high']:.2f}), "
            f"{accuracy['protocol']}",
            f"labels:   {listed['count']:,} of {listed['of']:,} are probably wrong: {out / 'suspects.csv'}",
        ]
        if rated := listed.get("rated"):
            lines.append(f"          {_rated(rated)}")
    place = quoted(str(out))
    lines.append(f"next:     clsp predict --classifier {place} --data NEW_FOLDER --out labels.csv")
    return [*lines, f"report:   {(out / 'report.html').resolve()}"]


def _rated(rated: dict[str, Any]) -> str:
    """How good the list is, where the right labels are known."""
    parts = [f"{100 * rated['wrong']:.1f} % of the labels are wrong"]
    if rated["precision"] is not None:
        parts.append(f"{100 * rated['precision']:.1f} % of the list are")
    if rated["recall"] is not None:
        parts.append(f"it has {100 * rated['recall']:.1f} % of them")
    return ", ".join(parts)
