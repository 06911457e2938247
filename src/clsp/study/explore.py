"""The page of a run's images: what is shown is found in its folder, and made where it is missing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsp import console, explorer, files
from clsp.encoders.export import encoder_folder
from clsp.engine import threads
from clsp.engine.hardware import device_of
from clsp.engine.record import read_record
from clsp.errors import UserError
from clsp.evaluation.embeddings import Embeddings, parts_of
from clsp.images.imageset import Images, split_fingerprint
from clsp.positives.bank import PositiveBank
from clsp.recipes.prepare import Prepared
from clsp.study import stages
from clsp.study.findings import EMBEDDINGS
from clsp.study.opened import prepare_as
from clsp.study.record import describe
from clsp.text import portable

_FEWEST = 3
"""Images that have neighbours."""


def explore(place: str | Path, out: Path | None = None, data: str | None = None) -> explorer.Written:
    """Write the page of a run's images.

    The images are those that the run was made from. Their embeddings, findings and candidates are the run's; where it
    has no embeddings, or ``data`` are other images, the encoder embeds them and they are searched now.

    Args:
        place: the folder of a run or a comparison, or an encoder's.
        out: the HTML file; default ``explore.html`` in ``place``.
        data: a SOURCE; None: the run's own.

    Raises:
        UserError: there is no run, its images are gone or others, or one of its files is damaged.
    """
    folder = Path(place)
    out = folder / "explore.html" if out is None else out
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; give the name of a file, such as {out / 'explore.html'}")
    prepared = _prepared(folder, data)
    images, seed = prepared.images, prepared.recipe.seed
    own = _is_own(folder, images, data)
    describe(images)
    threads.bind()
    embeddings = read_embeddings(folder / EMBEDDINGS, images) if own else None
    made = embeddings is None
    if embeddings is None:
        embeddings = _embedded(folder, prepared)
    if len(embeddings) < _FEWEST:
        raise UserError(f"{images.source}: {len(embeddings)} images are too few to explore; give {_FEWEST} or more")
    rows = explorer.limited(len(embeddings), seed=seed)
    if made or not (folder / "findings" / "findings.json").exists():
        console.say(f"explore: looking for near-duplicates, outliers and clusters in {len(rows):,} images")
        found = explorer.search_found(embeddings, rows, seed=seed)
    else:
        found = explorer.read_found(folder / "findings", embeddings, rows)
    content = explorer.Content(
        _title(images.source), embeddings, rows, found, seed, _bank(folder, images) if own else None
    )
    return explorer.write_page(content, out)


def read_embeddings(path: Path, images: Images) -> Embeddings | None:
    """Read a run's table of embeddings; None where there is none.

    Raises:
        UserError: it is damaged, or of other images.
    """
    from pyarrow import parquet

    if not path.exists():
        return None
    raw, whole = files.read_bytes(path), Embeddings(images, np.empty((0, 0), np.float32))
    with files.foreign(path):
        table = parquet.read_table(io.BytesIO(raw), columns=["name", "part", "embedding"])
        names, column = table.column("name").to_pylist(), table.column("embedding").combine_chunks()
        if names != [portable(name) for name in whole.names] or table.column("part").to_pylist() != whole.parts:
            raise ValueError("it tells of other images")
        values = np.array(column.flatten(), np.float32).reshape(len(names), -1)
        if values.shape[1] == 0 or not np.isfinite(values).all():
            raise ValueError("its embeddings are no numbers")
    return Embeddings(images, values)


def _prepared(folder: Path, data: str | None) -> Prepared:
    """The images with the recipe that the run, or the encoder, was made with."""
    path = folder / "recipe.yaml"
    if not folder.is_dir():
        raise UserError(f"there is no run at '{folder}'; give the folder that 'clsp run --out' wrote")
    if path.is_file():
        return prepare_as(path, data, store=folder / "images")
    encoder = encoder_folder(folder)
    if not (encoder / "config.json").is_file():
        raise UserError(f"{folder} is no run and no encoder; give the --out of 'clsp run', or an encoder's folder")
    if data is None:
        raise UserError(f"{folder} does not say which images it is of; give them: --data FOLDER")
    return stages.prepare_for(encoder, data, recipe=None, overrides={})


def _is_own(folder: Path, images: Images, data: str | None) -> bool:
    """Whether the images are those that the run was made from.

    Raises:
        UserError: they are not, and nobody gave others; or the record of the run is damaged.
    """
    path = folder / "images.json"
    if not path.exists():
        return False
    made, record = files.read_json(path, dict[str, Any]).get("fingerprint"), read_record(folder / "findings")
    test = "none" if images.test is None else split_fingerprint(images.test)
    same = made == images.fingerprint and (record is None or record.inputs.get("test", test) == test)
    if not same and data is None:
        raise UserError(
            f"the images of {images.source} are not those that {folder} was made from; say where those lie, or which "
            "others are to be shown: --data FOLDER"
        )
    return same


def _embedded(folder: Path, prepared: Prepared) -> Embeddings:
    """The embeddings of all images by the encoder in ``folder``."""
    from clsp.encoders.features import encode_by

    encoder, images = encoder_folder(folder), prepared.images
    if not (encoder / "config.json").is_file():
        raise UserError(f"{folder} has no encoder yet; run the same command again until it is finished")
    parts = [split.images for _, split in parts_of(images)]
    console.say(f"explore: embedding {sum(map(len, parts)):,} images")
    values = torch.cat(encode_by(encoder, parts, device=device_of(prepared.recipe.hardware))).numpy()
    return Embeddings(images, values)


def _bank(folder: Path, images: Images) -> PositiveBank | None:
    """The run's bank, if it has one of its images."""
    if not (folder / "positives" / "manifest.json").exists():
        return None
    bank = PositiveBank.open(folder / "positives")
    bank.require_data(images.fingerprint, images.source)
    return bank


def _title(source: str) -> str:
    """The data in few words: of a path, its last part."""
    return portable((Path(source).name if source.startswith(("/", ".", "~")) else "") or source)
