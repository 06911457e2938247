"""The stages that train an encoder for dense correspondence, and measure it beside others."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clsp import distributed, files, randomness
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.encoders.export import EncoderSpec, load_encoder, read_spec, save_encoder
from clsp.engine.fit import Fit
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import launch
from clsp.engine.neighbours import nearest
from clsp.engine.pixels import Pixels
from clsp.engine.stage import Stage, stage
from clsp.errors import UserError
from clsp.evaluation.features import encode_images
from clsp.images.imageset import Images, subset
from clsp.methods.base import NoSettings
from clsp.positives.bank import PositiveBank
from clsp.positives.source import Material
from clsp.positives.sources import SOURCES
from clsp.settings.values import plain
from clsp.tasks.correspondence.config import DenseConfig, MeasureConfig
from clsp.tasks.correspondence.features import Mapped, maps_and_features, of_diffusion, of_encoder
from clsp.tasks.correspondence.keypoints import read_pairs
from clsp.tasks.correspondence.measure import on_pairs, on_warps
from clsp.tasks.correspondence.training import Corresponding, Other
from clsp.tasks.start import Beginning, find_beginning, with_statistics

MAKES = ("encoder.safetensors", "config.json", "snippet.py", "metrics.jsonl", "checkpoints/last.safetensors")
"""What the training makes."""

MEASURES = "measures"
"""The folder of what was measured, below the encoder's."""


def train_dense(
    images: Images,
    config: DenseConfig,
    hardware: HardwareConfig,
    *,
    seed: int,
    folder: Path,
    encoder: str | None = None,
    bank: PositiveBank | None = None,
) -> Stage:
    """Train an encoder into ``folder``.

    Args:
        images: the data.
        config: the training.
        hardware: devices.
        seed: names the initial weights and all draws.
        folder: gets the encoder.
        encoder: what the encoder begins as, see `clsp.tasks.start.find_beginning`.
        bank: candidates, for ``cycle.other candidate``.

    Raises:
        UserError: a setting needs what is not there, a loss became non-finite, or the folder belongs to other settings.
    """
    launch(hardware)
    beginning = find_beginning(encoder, images, config.backbone)
    ids = subset(len(images.train), config.images, seed=seed)
    _require_together(config, images, len(ids), bank)
    made = beginning.made
    if bank is not None:
        bank.require_data(images.fingerprint, images.source)
        made |= {"bank": bank.fingerprint}
    about: dict[str, Any] = {"data": images.fingerprint, "made": made, "makes": MAKES}
    with stage("dense encoder", folder, config, seed=seed, **about) as current:
        if current.finished:
            return current
        torch.manual_seed(seed)
        training, spec = build(images, ids, config, beginning, bank, seed=seed)
        if config.epochs:
            Fit(
                folder=folder,
                title="dense encoder",
                precision=config.precision,
                hardware=hardware,
                checkpoint_minutes=config.checkpoint_minutes,
                on_checkpoint=current.keep_time,
                log_every=config.log_every,
                batch_setting="dense.batch_size",
            ).run(training)
        if distributed.rank() == 0:
            training = training.cpu()
            save_encoder(folder, training.encoder, spec, {"stage": "dense encoder", "seed": seed})
    return current


def measure_dense(
    images: Images,
    config: DenseConfig,
    *,
    seed: int,
    folder: Path,
    encoder: str | None = None,
    diffusion: str | None = None,
    pairs: Path | None = None,
) -> Stage:
    """Measure the encoder in ``folder`` beside others: what it was before, random weights, a diffusion model.

    Args:
        images: the data.
        config: how it is measured.
        seed: names random weights, warps and noise.
        folder: of the encoder; ``measures/metrics.json`` is made there.
        encoder: what it began as.
        diffusion: a diffusion model, whose features are measured as well; None: none is.
        pairs: the folder of a benchmark of key points; None: warps alone are measured.

    Raises:
        UserError: one of them cannot be read.
    """
    beginning = find_beginning(encoder, images, config.backbone)
    made = {"encoder": files.file_hash(folder / "encoder.safetensors")[:16], "before": str(encoder)}
    made |= {"diffusion": str(diffusion), "pairs": str(pairs), "how": files.fingerprint(plain(config.measure))}
    about: dict[str, Any] = {"data": images.fingerprint, "made": made, "makes": ("metrics.json",), "alone": True}
    place = folder / MEASURES
    with stage("dense measures", place, NoSettings(), seed=seed, **about) as current:
        if not current.finished and distributed.rank() == 0:
            torch.manual_seed(seed)
            rows = _rows(folder, beginning, images, config, diffusion, seed=seed)
            found = _measured(rows, images, config.measure, pairs, seed=seed)
            files.write_json(place / "metrics.json", found)
            current.facts = {name: row["pck@0.1"] for name, row in found["warps"].items()}
    return current


def _require_together(config: DenseConfig, images: Images, count: int, bank: PositiveBank | None) -> None:
    """Refuse settings that do not go together.

    Raises:
        UserError: names the option.
    """
    other, used = config.cycle.other, bool(config.cycle.weight and config.epochs)
    if config.batch_size > count:
        raise UserError(f"--dense.batch_size {config.batch_size} is larger than the {count} images; choose less")
    if used and other == "candidate" and bank is None:
        raise UserError("--dense.cycle.other candidate needs a bank: --positives BANK")
    if bank is not None and not (used and other == "candidate"):
        raise UserError("--positives: a bank serves --dense.cycle.other candidate alone; give that, too")
    if used and other == "class" and images.train.labels is None:
        raise UserError(f"--dense.cycle.other class: {images.source} has no labels; choose nearest")


def build(
    images: Images,
    ids: np.ndarray,
    config: DenseConfig,
    beginning: Beginning,
    bank: PositiveBank | None,
    *,
    seed: int,
) -> tuple[Corresponding, EncoderSpec]:
    """Make the training with its first weights, and the spec of its encoder.

    Raises:
        UserError: the backbone has no such stage.
    """
    train = files.Rows(images.train.images, ids)
    spec, encoder = with_statistics(beginning, images, train), beginning.build(config.backbone)
    with torch.no_grad():
        maps_and_features(encoder.eval(), torch.zeros(2, spec.channels, images.size, images.size), config.layer)
    held, other = Pixels(images.train.images, ids), None
    statistics = torch.tensor(spec.mean), torch.tensor(spec.std)
    if config.cycle.weight and config.epochs and config.cycle.other != "view":
        if config.cycle.other == "candidate":
            material = Material(held, ids, None, images.train.images, images.train.names, bank)
            other = partial(_candidates, material, seed)
        else:
            labels = images.train.labels
            partners = _nearest(encoder, statistics, train) if config.cycle.other == "nearest" else None
            labels = labels[ids] if partners is None and labels is not None else None
            other = partial(_partners, held, partners, labels, seed)
    encoder.train()
    return Corresponding(encoder, config, held, ids, *statistics, seed=seed, other=other), spec


def _nearest(encoder: nn.Module, statistics: tuple[Tensor, Tensor], train: files.Array) -> Tensor:
    """The nearest other image of each, by features: places int64 [N]."""
    features = encode_images(encoder, train, *statistics)
    _, places = nearest(features, features, 2)
    own = torch.arange(len(features))
    return torch.where(places[:, 0] == own, places[:, 1], places[:, 0])


def _candidates(material: Material, seed: int, device: torch.device) -> Other:
    drawn = SOURCES["bank"]().build(material, seed=seed, device=device)
    return lambda positions, step: drawn(positions, material.pixels[positions], step).images


def _partners(
    pixels: Pixels, partners: Tensor | None, labels: np.ndarray | None, seed: int, device: torch.device
) -> Other:
    """Images that were found before, or any of the same label."""
    if partners is not None:
        known = partners.to(device)
        return lambda positions, step: pixels[known[positions]]
    assert labels is not None
    order = torch.from_numpy(np.argsort(labels, kind="stable")).to(device)
    counts = np.bincount(labels - labels.min())
    first, size = (torch.from_numpy(some).to(device) for some in (np.cumsum(counts) - counts, counts))
    classes = torch.from_numpy(labels - labels.min()).to(device)

    def drawn(positions: Tensor, step: int) -> Tensor:
        of = classes[positions]
        place = randomness.uniform(seed, "same class", (step, positions), 1)[:, 0] * size[of]
        return pixels[order[first[of] + place.long().clamp(max=int(size.max()) - 1)]]

    return drawn


def _rows(
    folder: Path, beginning: Beginning, images: Images, config: DenseConfig, diffusion: str | None, *, seed: int
) -> dict[str, Mapped]:
    """What is compared: random weights, the encoder before and after, and the diffusion model's features."""
    spec, layer = read_spec(folder), config.layer
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    rows = {"random": of_encoder(spec.build(), mean, std, layer)}
    if beginning.pretrained:
        rows["before"] = of_encoder(beginning.build(config.backbone), mean, std, layer)
    if config.epochs:
        rows["trained"] = of_encoder(load_encoder(folder), mean, std, layer)
    if diffusion is not None:
        pipeline, chosen = SyntheticPositivePipeline.from_pretrained(diffusion), config.measure
        about: dict[str, Any] = {"time": chosen.time, "block": chosen.block, "channels": images.channels, "seed": seed}
        rows["diffusion"] = of_diffusion(pipeline.unet, pipeline.scheduler, **about)
    return rows


def _measured(
    rows: dict[str, Mapped], images: Images, config: MeasureConfig, pairs: Path | None, *, seed: int
) -> dict[str, Any]:
    """PCK of every row, on warps and on a benchmark's pairs."""
    tested = images.test or images.train
    part = f"{min(len(tested), config.pairs)} images of the {'train' if images.test is None else 'test'} part"
    found: dict[str, Any] = {"warps": on_warps(rows, tested.images, config, seed=seed), "tested": part}
    if pairs is not None:
        read = read_pairs(pairs)
        found["pairs"] = on_pairs(rows, read, config, size=images.size, channels=images.channels)
        found["of_pairs"] = f"{min(len(read), config.pairs)} pairs of {pairs.name}"
    return found
