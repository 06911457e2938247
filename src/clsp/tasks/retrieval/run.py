"""``clsp index`` and ``clsp search``: an index of images by short codes, and what an image finds in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsp import files
from clsp.encoders.export import load_encoder, read_spec
from clsp.encoders.features import encode_images
from clsp.engine.threads import bind
from clsp.errors import UserError
from clsp.images.decode import UnreadableImage, decode_file
from clsp.study.opened import tones_of
from clsp.tasks.retrieval.config import RetrievalRecipe
from clsp.tasks.retrieval.index import read_index
from clsp.tasks.retrieval.page import article
from clsp.tasks.retrieval.stage import make_index
from clsp.tasks.task import Found, Place, Task


def _lines(found: Found, folder: Path) -> list[str]:
    """How large it is, and what a search finds."""
    lines = [f"index:    {found['images']:,} images by codes of {found['bits']} bits: {folder}"]
    for name, facts in found["measures"].items():
        one = found[name]
        lines.append(f"{name + ':':<10}{facts['quantity']} {one['map']:.2f} % ({one['protocol']})")
    return lines


TASK = Task(
    command="index",
    name="retrieval",
    recipe=RetrievalRecipe,
    make=make_index,
    lines=_lines,
    article=article,
    following="clsp search --index {} --query IMAGE --html found.html",
)


def index(
    data: Place,
    out: Place,
    *,
    encoder: Place | None = None,
    positives: Place | None = None,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Make an index of short codes of all images; return its folder, see `clsp.tasks.task.Task.run`.

    Args:
        data: a SOURCE.
        out: the index's folder.
        encoder: a pretrained encoder's folder, a run, or ``timm``; None: random weights.
        positives: a bank's folder or another source, whose candidates are further positives.
        recipe: a recipe of the task, or a file.
        settings: by their names, such as ``{"index.quantiser.bits": 32}``.
    """
    return TASK.run(data, out, encoder=encoder, positives=positives, recipe=recipe, settings=settings)


@dataclass(frozen=True)
class Hits:
    """What an image finds."""

    query: str
    names: list[str]
    """Names of the images found, the best first."""
    scores: list[float]
    """Their scores: 1 where every part is the same word."""
    source: Path
    """What was indexed: the names are paths in it, where it is a folder."""

    def lines(self) -> list[str]:
        """A line each."""
        return [f"{score:7.4f}  {name}" for name, score in zip(self.names, self.scores, strict=True)]


def search(index: Place, query: Place, *, k: int = 10) -> Hits:
    """Search an index for images like one.

    Args:
        index: the folder of an index.
        query: an image file.
        k: results.

    Raises:
        UserError: the index or the image cannot be read.
    """
    folder, path = Path(index), Path(query)
    found, spec = read_index(folder), read_spec(folder)
    try:
        image = decode_file(path, size=spec.size, channels=spec.channels, tones=tones_of(folder)).pixels
    except (UnreadableImage, OSError) as error:
        raise UserError(f"--query {query} is no image that can be read: {error}") from error
    bind()
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    features = encode_images(load_encoder(folder), image[None], mean, std)
    with files.foreign(folder / "quantiser.safetensors", "make the index again", what="does not fit its encoder"):
        table = found.quantiser.table(features)[0]
    places, scores = found.search(table, k)
    scores = scores / np.float32(found.quantiser.parts)
    names = [found.names[int(place)] for place in places]
    return Hits(str(query), names, [float(score) for score in scores], Path(found.source))
