"""``clsp text`` and ``clsp zeroshot``: both encoders with all that stands around them, and classes by name alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clsp import distributed, files
from clsp.engine.threads import bind
from clsp.errors import UserError
from clsp.evaluation.embeddings import parts_of
from clsp.images.config import ImagesConfig
from clsp.images.sources import open_images
from clsp.positives.bank import PositiveBank
from clsp.settings.values import Tree
from clsp.study.record import command_line, describe, write_record
from clsp.study.seal import seal, unseal
from clsp.tasks.classify.predict import Predictions
from clsp.tasks.prepare import prepare_task
from clsp.tasks.text.config import TextRecipe
from clsp.tasks.text.model import load_pairing
from clsp.tasks.text.page import build_page
from clsp.tasks.text.stage import train_text
from clsp.text import quoted


def run(
    data: str,
    out: Path,
    *,
    encoder: str | None = None,
    recipe: str | None = None,
    overrides: Tree | None = None,
    bank: str | None = None,
) -> Path:
    """Train an image and a text encoder on captioned images.

    Args:
        data: a SOURCE with captions, or with classes.
        out: the folder; a second call goes on where a first one stopped.
        encoder: a pretrained encoder's folder, a run, ``timm``, or None for random weights.
        recipe: a recipe of the task or a file; None: the SOURCE's own, else ``folder``.
        overrides: nested settings.
        bank: a bank's folder.

    Returns:
        ``out``.

    Raises:
        UserError: the data or the encoder cannot be read, or a setting is wrong.
    """
    given = {"data": data, "out": str(out), "encoder": encoder, "positives": bank, "recipe": recipe}
    command = command_line("text", given, overrides, config=TextRecipe)
    wanted: dict[str, Any] = {"recipe": recipe, "overrides": overrides, "encoder": encoder}
    prepared = prepare_task("text", TextRecipe, data, store=out / "images", **wanted)
    describe(prepared.images, out / "images.json")
    chosen = prepared.recipe
    drawn = None if bank is None else PositiveBank.open(bank)
    more: dict[str, Any] = {"seed": chosen.seed, "folder": out, "encoder": encoder, "bank": drawn}
    train_text(prepared.images, chosen.text, chosen.hardware, **more)
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
        lines = [f"pairs:    {found['pairs']:,} images with {found['captions']}"]
        for name, facts in found["measures"].items():
            one = found[name]
            value = f"{facts['title']} {facts['quantity']} {one[facts['metric']]:.2f} %"
            lines.append(f"          {value} ({one['protocol']})")
    place = quoted(str(out))
    lines.append(f"next:     clsp zeroshot --model {place} --data NEW_FOLDER --classes 'cat,dog' --out labels.csv")
    return [*lines, f"report:   {(out / 'report.html').resolve()}"]


def zeroshot(model: Path, data: str, classes: Sequence[str]) -> Predictions:
    """Give every image of a SOURCE the class whose sentences it is most like.

    Args:
        model: the folder of an image and a text encoder.
        data: a SOURCE; its labels, if it has any, are not looked at.
        classes: names of classes, of any kind.

    Raises:
        UserError: the model or the data cannot be read, or there are fewer than two classes.
    """
    if len(set(classes)) < 2 or not all(classes):
        raise UserError(f"--classes '{','.join(classes)}' must be two or more names: --classes 'cat,dog'")
    saved, templates = load_pairing(model)
    images = open_images(data, ImagesConfig(size=saved.spec.size, channels=saved.spec.channels, labels="none"))
    describe(images)
    bind()
    parts = [split for _, split in parts_of(images)]
    embedded = saved.embed_images(files.Joined([split.images for split in parts]))
    scale = float(saved.pairing.scale.detach())
    scores = scale * embedded @ saved.embed_classes(classes, templates).T
    names = [str(name) for split in parts for name in split.names]
    return Predictions(names, tuple(classes), scores.softmax(dim=1).numpy())
