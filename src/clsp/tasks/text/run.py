"""``clsp text`` and ``clsp zeroshot``: an image and a text encoder side by side, and classes by name alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clsp.errors import UserError
from clsp.tasks.predictions import Predictions, every_image
from clsp.tasks.task import Found, Place, Task
from clsp.tasks.text.config import TextRecipe
from clsp.tasks.text.model import load_pairing
from clsp.tasks.text.page import article
from clsp.tasks.text.stage import make_text


def _lines(found: Found, folder: Path) -> list[str]:
    """How many pairs, and every measure."""
    lines = [f"pairs:    {found['pairs']:,} images with {found['captions']}"]
    for name, facts in found["measures"].items():
        value = f"{facts['title']} {facts['quantity']} {found[name][facts['metric']]:.2f} %"
        lines.append(f"          {value} ({found[name]['protocol']})")
    return lines


TASK = Task(
    command="text",
    name="text",
    recipe=TextRecipe,
    make=make_text,
    lines=_lines,
    article=article,
    following="clsp zeroshot --model {} --data NEW_FOLDER --classes 'cat,dog' --out labels.csv",
)


def train_text(
    data: Place,
    out: Place,
    *,
    encoder: Place | None = None,
    positives: Place | None = None,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Train an image and a text encoder side by side; return their folder, see `clsp.tasks.task.Task.run`.

    Args:
        data: a SOURCE with captions, or with classes.
        out: the folder.
        encoder: a pretrained encoder's folder, a run, or ``timm``; None: random weights.
        positives: a bank's folder or another source, whose candidates are paired with their anchors' captions.
        recipe: a recipe of the task, or a file.
        settings: by their names, such as ``{"text.progressive.last": 0.5}``.
    """
    return TASK.run(data, out, encoder=encoder, positives=positives, recipe=recipe, settings=settings)


def zeroshot(model: Place, data: Place, classes: Sequence[str]) -> Predictions:
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
    saved, templates = load_pairing(Path(model))
    names, pixels = every_image(str(data), saved.spec, Path(model))
    scores = saved.embed_images(pixels) @ saved.embed_classes(classes, templates).T
    scale = float(saved.pairing.scale.detach())
    return Predictions(names, tuple(classes), (scale * scores).softmax(dim=1).numpy())
