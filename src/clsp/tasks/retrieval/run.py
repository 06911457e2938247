"""``clsp index`` and ``clsp search``: an index with all that stands around it, and what an image finds in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsp import distributed, files
from clsp.encoders.export import load_encoder, read_spec
from clsp.engine.threads import bind
from clsp.errors import UserError
from clsp.evaluation.features import encode_images
from clsp.images.decode import UnreadableImage, decode_file
from clsp.positives.bank import PositiveBank
from clsp.settings.values import Tree
from clsp.study.record import command_line, describe, write_record
from clsp.study.seal import seal, unseal
from clsp.tasks.prepare import prepare_task
from clsp.tasks.retrieval.config import RetrievalRecipe
from clsp.tasks.retrieval.index import read_index
from clsp.tasks.retrieval.page import build_page
from clsp.tasks.retrieval.stage import build_index
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
    """Make an index of all images of a SOURCE.

    Args:
        data: a SOURCE.
        out: the index's folder; a second call goes on where a first one stopped.
        encoder: a pretrained encoder's folder, a run, ``timm``, or None for random weights.
        recipe: a recipe of the task or a file; None: the SOURCE's own, else ``folder``.
        overrides: nested settings.
        bank: a bank's folder.

    Returns:
        ``out``.

    Raises:
        UserError: the data or the encoder cannot be read, or a setting is wrong.
    """
    given = {"encoder": encoder, "data": data, "out": str(out), "positives": bank, "recipe": recipe}
    command = command_line("index", given, overrides, config=RetrievalRecipe)
    wanted: dict[str, Any] = {"recipe": recipe, "overrides": overrides, "encoder": encoder}
    prepared = prepare_task("retrieval", RetrievalRecipe, data, store=out / "images", **wanted)
    describe(prepared.images, out / "images.json")
    chosen = prepared.recipe
    drawn = None if bank is None else PositiveBank.open(bank)
    more: dict[str, Any] = {"seed": chosen.seed, "folder": out, "encoder": encoder, "bank": drawn}
    build_index(prepared.images, chosen.index, chosen.hardware, **more)
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
        lines = [f"index:    {found['images']:,} images by codes of {found['bits']} bits: {out}"]
        for name in found["measures"]:
            facts, one = found["measures"][name], found[name]
            lines.append(f"{name + ':':<10}{facts['quantity']} {one['map']:.2f} % ({one['protocol']})")
    place = quoted(str(out))
    lines.append(f"next:     clsp search --index {place} --query IMAGE --html found.html")
    return [*lines, f"report:   {(out / 'report.html').resolve()}"]


@dataclass(frozen=True)
class Found:
    """What an image finds."""

    query: str
    names: list[str]
    """Names of the images found, the best first."""
    scores: list[float]
    """Their scores: 1 where every part is the same word."""

    def lines(self) -> list[str]:
        """A line each."""
        return [f"{score:7.4f}  {name}" for name, score in zip(self.names, self.scores, strict=True)]


def search(index: Path, query: Path, *, k: int = 10) -> Found:
    """Search an index for images like one.

    Args:
        index: the folder of an index.
        query: an image file.
        k: results.

    Raises:
        UserError: the index or the image cannot be read.
    """
    found, spec = read_index(index), read_spec(index)
    try:
        image = decode_file(query, size=spec.size, channels=spec.channels).pixels
    except (UnreadableImage, FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"--query {query} is no image that can be read: {error}") from error
    bind()
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    features = encode_images(load_encoder(index), image[None], mean, std)
    with files.foreign(index / "quantiser.safetensors", "make the index again", what="does not fit its encoder"):
        table = found.quantiser.table(features)[0]
    places, scores = found.search(table, k)
    scores = scores / np.float32(found.quantiser.parts)
    return Found(str(query), [found.names[int(place)] for place in places], [float(score) for score in scores])
