"""``clsp dense`` and ``clsp correspond``: an encoder for dense correspondence, and the matches between two images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from clsp import distributed, files
from clsp.encoders.export import load_encoder, read_spec
from clsp.engine.threads import bind
from clsp.errors import UserError
from clsp.images.decode import UnreadableImage, decode_file
from clsp.images.sheet import visible
from clsp.positives.bank import PositiveBank
from clsp.settings.values import Tree
from clsp.study.record import command_line, describe, write_record
from clsp.study.seal import seal, unseal
from clsp.study.stages import encoder_folder
from clsp.tasks.correspondence.config import DenseRecipe
from clsp.tasks.correspondence.features import of_encoder
from clsp.tasks.correspondence.geometry import centres
from clsp.tasks.correspondence.matching import match
from clsp.tasks.correspondence.page import build_page
from clsp.tasks.correspondence.stage import MEASURES, measure_dense, train_dense
from clsp.tasks.prepare import prepare_task
from clsp.text import quoted

_SIDE, _GRID, _GAP = 384, 6, 16
"""Side of an image on the picture of matches, points across and down, and the gap between the images."""
_DEFAULT_LAYER = -2


def run(
    data: str,
    out: Path,
    *,
    encoder: str | None = None,
    recipe: str | None = None,
    overrides: Tree | None = None,
    bank: str | None = None,
    diffusion: str | None = None,
    pairs: str | None = None,
) -> Path:
    """Train an encoder for dense correspondence, and compare its feature map with others'.

    Args:
        data: a SOURCE.
        out: the encoder's folder; a second call goes on where a first one stopped.
        encoder: a pretrained encoder's folder, a run, ``timm``, or None for random weights.
        recipe: a recipe of the task or a file; None: the SOURCE's own, else ``folder``.
        overrides: nested settings.
        bank: a bank's folder.
        diffusion: a diffusion model's folder, whose features are compared.
        pairs: the folder of SPair-71k, PF-PASCAL or PF-WILLOW, on which all are measured as well.

    Returns:
        ``out``.

    Raises:
        UserError: the data or the encoder cannot be read, or a setting is wrong.
    """
    given = {
        "encoder": encoder, "data": data, "out": str(out), "positives": bank, "diffusion": diffusion, "pairs": pairs,
        "recipe": recipe,
    }  # fmt: skip
    command = command_line("dense", given, overrides, config=DenseRecipe)
    wanted: dict[str, Any] = {"recipe": recipe, "overrides": overrides, "encoder": encoder}
    prepared = prepare_task("correspondence", DenseRecipe, data, store=out / "images", **wanted)
    describe(prepared.images, out / "images.json")
    chosen = prepared.recipe
    drawn = None if bank is None else PositiveBank.open(bank)
    more: dict[str, Any] = {"seed": chosen.seed, "folder": out, "encoder": encoder}
    train_dense(prepared.images, chosen.dense, chosen.hardware, **more, bank=drawn)
    places: dict[str, Any] = {"diffusion": diffusion, "pairs": None if pairs is None else Path(pairs)}
    measure_dense(prepared.images, chosen.dense, **more, **places)
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
    path = out / MEASURES / "metrics.json"
    found = files.read_json(path, dict[str, Any])
    lines = []
    with files.foreign(path, "run 'clsp verify' on the folder", what="holds what no run writes"):
        for kind, of in (("warps", found["tested"]), ("pairs", found.get("of_pairs"))):
            for name, row in (found.get(kind) or {}).items():
                values = ", ".join(f"{key} {value:.1f} %" for key, value in row.items())
                lines.append(f"{kind}, {name + ':':<10} {values} ({of})")
    lines.append(f"next:     clsp correspond A.png B.png --encoder {quoted(str(out))} --out matches.png")
    return [*lines, f"report:   {(out / 'report.html').resolve()}"]


def correspond(first: Path, second: Path, encoder: Path, *, layer: int = _DEFAULT_LAYER) -> Image.Image:
    """Draw which points of one image are which points of another.

    Args:
        first: an image file.
        second: another one.
        encoder: an encoder's folder, or a run.
        layer: the stage of the backbone whose feature map is matched, from the end.

    Returns:
        Both images side by side, with lines between a grid of points of the first and where they are found, the more
        opaque the better they match.

    Raises:
        UserError: a file cannot be read.
    """
    folder = encoder_folder(encoder)
    spec = read_spec(folder)
    bind()
    mapped = of_encoder(load_encoder(folder), torch.tensor(spec.mean), torch.tensor(spec.std), layer)
    images = [_opened(path, spec.size, spec.channels) for path in (first, second)]
    points = centres(_GRID, _GRID)
    source, target = (mapped(image[None])[0] for image in images)
    found, sure = match(source, target, points)
    return _drawn([_opened(path, _SIDE, spec.channels) for path in (first, second)], points, found, sure)


def _opened(path: Path, size: int, channels: int) -> Tensor:
    """The middle square of an image, float [C, size, size] in [0, 1]."""
    try:
        return torch.from_numpy(decode_file(path, size=size, channels=channels).pixels.copy()).float() / 255.0
    except (UnreadableImage, OSError) as error:
        raise UserError(f"{path} is no image that can be read: {error}") from error


def _drawn(images: list[Tensor], points: Tensor, found: Tensor, sure: Tensor) -> Image.Image:
    """Two images side by side, and lines between their points."""
    sheet = Image.new("RGB", (2 * _SIDE + _GAP, _SIDE), "white")
    for place, image in enumerate(images):
        pixels = visible((image[None] * 255).round().to(torch.uint8).numpy())
        colours = np.broadcast_to(pixels, (1, 3, _SIDE, _SIDE))[0].transpose(1, 2, 0)
        sheet.paste(Image.fromarray(np.ascontiguousarray(colours)), (place * (_SIDE + _GAP), 0))
    pen = ImageDraw.Draw(sheet, "RGBA")
    low, high = float(sure.min()), float(sure.max())
    for number, (start, end, value) in enumerate(zip(points, found, sure, strict=True)):
        hue = Image.new("HSV", (1, 1), (int(255 * number / len(points)), 220, 255)).convert("RGB").getpixel((0, 0))
        colour = (*hue, 80 + int(175 * (float(value) - low) / max(high - low, 1e-9)))  # type: ignore[misc]
        a, b = ((point + 1) / 2 * _SIDE for point in (start, end))
        left, right = (float(a[0]), float(a[1])), (float(b[0]) + _SIDE + _GAP, float(b[1]))
        pen.line((*left, *right), fill=colour, width=1)
        for x, y in (left, right):
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour, outline=(0, 0, 0, 160))
    return sheet
