"""The stage that makes an index: encoder and quantiser, the codes of all images, and what a search finds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsp import distributed, files
from clsp.encoders.export import EncoderSpec, save_encoder
from clsp.encoders.heads import feature_count
from clsp.engine.fit import Fit
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import launch
from clsp.engine.pixels import Pixels
from clsp.engine.stage import Stage, stage
from clsp.errors import UserError
from clsp.evaluation.embeddings import parts_of
from clsp.evaluation.features import encode_images
from clsp.evaluation.findings.pictures import draw
from clsp.evaluation.measure import Measure, records
from clsp.images.imageset import Images, subset
from clsp.positives.bank import PositiveBank
from clsp.positives.source import Draw, Material
from clsp.positives.sources import SOURCES
from clsp.tasks.retrieval.config import IndexConfig
from clsp.tasks.retrieval.index import CODES, FAISS, NAMES, QUANTISER, Index
from clsp.tasks.retrieval.measure import measured
from clsp.tasks.retrieval.quantiser import Quantiser
from clsp.tasks.retrieval.training import Quantising
from clsp.tasks.start import Beginning, find_beginning, with_statistics

MAKES = (
    "encoder.safetensors", "config.json", "snippet.py", QUANTISER, CODES, NAMES, FAISS, "metrics.json", "metrics.jsonl",
    "results.png", "checkpoints/last.safetensors",
)  # fmt: skip
"""What the stage makes."""

_EXAMPLES, _RESULTS, _THUMBNAIL = 8, 8, 64
"""Queries on the picture, results of each, and their side in pixels."""


def build_index(
    images: Images,
    config: IndexConfig,
    hardware: HardwareConfig,
    *,
    seed: int,
    folder: Path,
    encoder: str | None = None,
    bank: PositiveBank | None = None,
) -> Stage:
    """Make an index in ``folder``.

    Args:
        images: the data; all parts are indexed, the train part first.
        config: quantiser and training.
        hardware: devices.
        seed: names the initial weights and all draws.
        folder: gets the encoder, the quantiser, codes and names.
        encoder: what the encoder begins as, see `clsp.tasks.start.find_beginning`.
        bank: candidates, each a positive of its anchor; None: there are none.

    Raises:
        UserError: the bank belongs to other data, a loss became non-finite, or the folder belongs to other settings.
    """
    launch(hardware)
    beginning = find_beginning(encoder, images, config.backbone)
    ids = subset(len(images.train), config.images, seed=seed)
    if config.batch_size > len(ids):
        raise UserError(f"--index.batch_size {config.batch_size} is larger than the {len(ids)} images; choose less")
    made = beginning.made
    if bank is not None:
        bank.require_data(images.fingerprint, images.source)
        made |= {"bank": bank.fingerprint}
    about: dict[str, Any] = {"data": images.fingerprint, "made": made, "makes": MAKES}
    with stage("index", folder, config, seed=seed, **about) as current:
        if current.finished:
            return current
        torch.manual_seed(seed)
        training, spec = build(images, ids, config, beginning, bank, seed=seed)
        if config.epochs:
            Fit(
                folder=folder,
                title="index",
                precision=config.precision,
                hardware=hardware,
                checkpoint_minutes=config.checkpoint_minutes,
                on_checkpoint=current.keep_time,
                log_every=config.log_every,
                batch_setting="index.batch_size",
            ).run(training)
        if distributed.rank() == 0:
            current.facts = _keep(folder, training, spec, images, config, seed)
    return current


def build(
    images: Images,
    ids: np.ndarray,
    config: IndexConfig,
    beginning: Beginning,
    bank: PositiveBank | None,
    *,
    seed: int,
) -> tuple[Quantising, EncoderSpec]:
    """Make the training with its first weights and words, and the spec of its encoder."""
    train = files.Rows(images.train.images, ids)
    spec, encoder = with_statistics(beginning, images, train), beginning.build(config.backbone)
    quantiser = Quantiser(feature_count(encoder), config.quantiser)
    quantiser.fit(_features(encoder, spec, train), seed=seed)
    held, candidates = Pixels(images.train.images, ids), None
    if bank is not None:
        material = Material(held, ids, None, images.train.images, images.train.names, bank)
        candidates = partial(_candidates, material, seed)
    statistics = torch.tensor(spec.mean), torch.tensor(spec.std)
    made = Quantising(encoder, quantiser, config, held, ids, *statistics, seed=seed, candidates=candidates)
    return made, spec


def _candidates(material: Material, seed: int, device: torch.device) -> Draw:
    return SOURCES["bank"]().build(material, seed=seed, device=device)


def _features(encoder: nn.Module, spec: EncoderSpec, images: files.Array) -> Tensor:
    """Features of images, float32 [N, D] on the CPU."""
    return encode_images(encoder, images, torch.tensor(spec.mean), torch.tensor(spec.std))


def _keep(
    folder: Path, training: Quantising, spec: EncoderSpec, images: Images, config: IndexConfig, seed: int
) -> dict[str, Any]:
    """Write encoder and index, and what a search finds; return the stage's facts."""
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
    rows, scores = [], []
    for place, table in zip(asking, index.quantiser.table(features[asking]), strict=True):
        found, score = index.search(table, _RESULTS + 1)
        others = found != first + place
        rows.append(np.concatenate(([first + place], found[others][:_RESULTS])))
        scores.append([round(float(value), 4) for value in score[others][:_RESULTS]])
    sheet = draw(path, pixels, rows, side=_THUMBNAIL)
    shown = [[index.names[int(place)] for place in row] for row in rows]
    return {"sheet": sheet, "names": shown, "scores": scores}
