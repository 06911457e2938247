"""``clsp dense`` and ``clsp correspond``: an encoder for dense correspondence, and the matches between two images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from clsp.encoders.export import encoder_folder, load_encoder, read_spec
from clsp.engine.threads import bind
from clsp.images.sheet import contact_sheet
from clsp.tasks.correspondence.config import DenseRecipe
from clsp.tasks.correspondence.features import of_encoder
from clsp.tasks.correspondence.geometry import centres
from clsp.tasks.correspondence.matching import match
from clsp.tasks.correspondence.measure import opened
from clsp.tasks.correspondence.page import article
from clsp.tasks.correspondence.stage import MEASURES, make_dense
from clsp.tasks.task import Found, Place, Task

_SIDE, _GRID, _GAP = 384, 6, 16
"""Side of an image on the picture of matches, points across and down, and the gap around the images."""


def _lines(found: Found, folder: Path) -> list[str]:
    """PCK by rows."""
    lines = []
    for kind, of in (("warps", found["tested"]), ("pairs", found.get("of_pairs"))):
        for name, row in (found.get(kind) or {}).items():
            values = ", ".join(f"{key} {value:.1f} %" for key, value in row.items())
            lines.append(f"{kind}, {name + ':':<10} {values} ({of})")
    return lines


TASK = Task(
    command="dense",
    name="correspondence",
    recipe=DenseRecipe,
    make=make_dense,
    lines=_lines,
    article=article,
    following="clsp correspond A.png B.png --encoder {} --out matches.png",
    measures=f"{MEASURES}/metrics.json",
)


def dense(
    data: Place,
    out: Place,
    *,
    encoder: Place | None = None,
    positives: Place | None = None,
    diffusion: Place | None = None,
    pairs: Place | None = None,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Train an encoder for dense correspondence; return its folder, see `clsp.tasks.task.Task.run`.

    Args:
        data: a SOURCE.
        out: the encoder's folder.
        encoder: a pretrained encoder's folder, a run, or ``timm``; None: random weights.
        positives: a bank's folder or another source, whose candidates are the other images.
        diffusion: a diffusion model's folder, whose features are compared.
        pairs: the folder of SPair-71k, PF-PASCAL or PF-WILLOW, on which all are measured as well.
        recipe: a recipe of the task, or a file.
        settings: by their names, such as ``{"dense.cycle.other": "class"}``.
    """
    more = {"diffusion": diffusion, "pairs": pairs}
    return TASK.run(data, out, encoder=encoder, positives=positives, recipe=recipe, settings=settings, **more)


def correspond(first: Place, second: Place, encoder: Place, *, layer: int = -2) -> Image.Image:
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
    images = [opened(path, spec.size, spec.channels) for path in map(Path, (first, second))]
    points = centres(_GRID, _GRID)
    source, target = (mapped(image[None])[0] for image in images)
    found, sure = match(source, target, points)
    return _drawn([opened(path, _SIDE, spec.channels) for path in map(Path, (first, second))], points, found, sure)


def _drawn(images: list[Tensor], points: Tensor, found: Tensor, sure: Tensor) -> Image.Image:
    """Two images side by side, and lines between their points."""
    pair = (torch.stack(images)[None] * 255).round().to(torch.uint8).numpy()
    sheet = contact_sheet(pair, scale=1, gap=_GAP)
    pen = ImageDraw.Draw(sheet, "RGBA")
    low, high = float(sure.min()), float(sure.max())
    for number, (start, end, value) in enumerate(zip(points, found, sure, strict=True)):
        colour = f"hsl({360 * number // len(points)}, 90%, 50%)"
        opacity = 80 + int(175 * (float(value) - low) / max(high - low, 1e-9))
        shade = (*ImageColor.getrgb(colour)[:3], opacity)
        (x, y), (u, v) = ((_GAP + (point + 1) / 2 * _SIDE).tolist() for point in (start, end))
        ends = (x, y), (u + _SIDE + _GAP, v)
        pen.line(ends, fill=shade, width=1)
        for across, down in ends:
            pen.ellipse((across - 4, down - 4, across + 4, down + 4), fill=shade, outline=(0, 0, 0, 160))
    return sheet
