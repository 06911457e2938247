"""The stage that makes an index: encoder and quantiser, the codes of all images, and what a search finds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsp import files
from clsp.encoders.export import EncoderSpec, save_encoder
from clsp.encoders.features import encode_images
from clsp.encoders.heads import feature_count
from clsp.engine.pixels import Pixels
from clsp.engine.stage import Stage
from clsp.evaluation.embeddings import parts_of
from clsp.evaluation.findings.pictures import draw
from clsp.evaluation.measure import Measure, records
from clsp.images.imageset import Images, subset
from clsp.tasks.job import Job, Keep, train
from clsp.tasks.retrieval.config import IndexConfig, RetrievalRecipe
from clsp.tasks.retrieval.index import CODES, FAISS, NAMES, QUANTISER, Index
from clsp.tasks.retrieval.measure import measured
from clsp.tasks.retrieval.quantiser import Quantiser
from clsp.tasks.retrieval.training import Quantising
from clsp.tasks.start import Beginning
from clsp.tasks.views import Drawing

MAKES = (QUANTISER, CODES, NAMES, FAISS, "metrics.json", "results.png")
"""What the stage makes besides what every training does."""

_EXAMPLES, _RESULTS, _THUMBNAIL = 8, 8, 64
"""Queries on the picture, results of each, and their side in pixels."""


def make_index(job: Job[RetrievalRecipe]) -> Stage:
    """Make an index in the job's folder: of all parts of the images, the train part first.

    Args:
        job: the images. Candidates are further positives of their anchors.

    Raises:
        UserError: as `clsp.tasks.job.train` says.
    """
    config = job.recipe.index
    ids = subset(len(job.images.train), config.images, seed=job.recipe.seed)
    about: dict[str, Any] = {"title": "index", "section": "index", "makes": MAKES, "count": len(ids)}
    return train(job, config, build=partial(build, job, ids), **about)


def build(job: Job[RetrievalRecipe], ids: np.ndarray, beginning: Beginning) -> tuple[Quantising, Keep]:
    """Make the training with its first weights and words, and what keeps its result."""
    images, config, seed = job.images, job.recipe.index, job.recipe.seed
    spec, encoder = beginning.described(images, ids), beginning.build(config.backbone)
    quantiser = Quantiser(feature_count(encoder), config.quantiser)
    quantiser.fit(_features(encoder, spec, files.Rows(images.train.images, ids)), seed=seed)
    pixels, drawing = Pixels(images.train.images, ids), Drawing(spec, config.augment, seed=seed)
    candidates = job.candidates(pixels, ids)
    training = Quantising(encoder, quantiser, config, drawing, pixels, ids, candidates=candidates)
    return training, partial(_keep, job, training, spec)


def _features(encoder: nn.Module, spec: EncoderSpec, images: files.Array) -> Tensor:
    """Features of images, float32 [N, D] on the CPU."""
    return encode_images(encoder, images, torch.tensor(spec.mean), torch.tensor(spec.std))


def _keep(job: Job[RetrievalRecipe], training: Quantising, spec: EncoderSpec) -> dict[str, Any]:
    """Write encoder and index, and what a search finds; return the stage's facts."""
    images, config, folder, seed = job.images, job.recipe.index, job.folder, job.recipe.seed
    save_encoder(folder, training.encoder, spec, {"stage": "index", "seed": seed})
    parts = [split for _, split in parts_of(images)]
    quantiser = training.quantiser.cpu().eval()
    features = [_features(training.encoder, spec, split.images) for split in parts]
    names = [str(name) for split in parts for name in split.names]
    codes = quantiser.codes(torch.cat(features)).T
    index = Index(quantiser, np.ascontiguousarray(codes), names, images.source)
    index.save(folder)
    measures = _measures(index, features, images, config, seed)
    found = {**records(measures), "bits": config.quantiser.bits, "images": len(names)}
    found["results"] = _pictures(folder / "results.png", index, features[-1], images, seed)
    files.write_json(folder / "metrics.json", found)
    return {"images": len(names), "bits": config.quantiser.bits, **{one.name: one.value for one in measures}}


def _measures(index: Index, features: list[Tensor], images: Images, config: IndexConfig, seed: int) -> list[Measure]:
    """Rate the search of test images among the train images, by codes and by the features themselves."""
    train, test = images.train, images.test
    if train.labels is None or test is None or test.labels is None:
        return []
    searched = np.flatnonzero(train.labels >= 0)
    asking = subset(len(test), config.queries, seed=seed + 9)
    gallery = Index(index.quantiser, np.ascontiguousarray(index.codes[:, searched]), [""] * len(searched))
    tables = index.quantiser.table(features[1][asking])
    unit, queries = (F.normalize(some, dim=1) for some in (features[0][searched], features[1][asking]))

    def by_codes(number: int, k: int) -> np.ndarray:
        return gallery.search(tables[number], k)[0]

    def by_features(number: int, k: int) -> np.ndarray:
        return (unit @ queries[number]).topk(k).indices.numpy()

    options: dict[str, Any] = {"first": config.first}
    said = f"{len(asking)} test images search {len(searched)} train images"
    labels = train.labels[searched], test.labels[asking]
    return [
        measured(by_codes, *labels, protocol=f"{said} by codes of {config.quantiser.bits} bits", **options),
        measured(by_features, *labels, protocol=f"{said} by the encoder's features", name="features", **options),
    ]


def _pictures(path: Path, index: Index, features: Tensor, images: Images, seed: int) -> dict[str, Any]:
    """Draw some queries of the last part with what they find in the whole index."""
    parts = [split for _, split in parts_of(images)]
    pixels, first = files.Joined([split.images for split in parts]), len(index) - len(parts[-1])
    asking = subset(len(parts[-1]), _EXAMPLES, seed=seed + 10)
    rows = []
    for place, table in zip(asking, index.quantiser.table(features[asking]), strict=True):
        found, _ = index.search(table, _RESULTS + 1)
        rows.append(np.concatenate(([first + place], found[found != first + place][:_RESULTS])))
    sheet = draw(path, pixels, rows, side=_THUMBNAIL)
    shown = [[index.names[int(place)] for place in row] for row in rows]
    return {"sheet": sheet, "names": shown}
