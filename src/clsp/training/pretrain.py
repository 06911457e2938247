"""The stage that trains an encoder."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from clsp import distributed, files
from clsp.encoders.backbone import require_views, stem_for, to_channels_last
from clsp.encoders.export import EncoderSpec, save_encoder
from clsp.engine.flops import count_flops
from clsp.engine.hardware import HardwareConfig
from clsp.engine.pixels import Pixels
from clsp.engine.stage import Stage, stage
from clsp.engine.trainer import Fit
from clsp.errors import UserError
from clsp.evaluation.online import OnlineKNN
from clsp.images.imageset import Images, subset
from clsp.images.sheet import save_sheet
from clsp.methods.config import NAMES
from clsp.methods.registry import build_method
from clsp.objectives.alignment import alignment
from clsp.positives.bank import PositiveBank
from clsp.positives.config import PositivesName
from clsp.positives.inflation import inflated, weaker
from clsp.positives.pairs import PairList, pairs_for
from clsp.positives.registry import NEEDS_BANK, Material
from clsp.training.config import PretrainConfig, check_crops, check_positives
from clsp.training.module import Pretraining, TrainingData

_SHEET = 12
_NO_RESULT = ("log_every", "knn_every", "checkpoint_minutes", "positive_pairs")
"""Settings that change nothing in what is learned; of the pairs the content counts, not where the file lies."""


def pretrain(
    images: Images,
    config: PretrainConfig,
    hardware: HardwareConfig,
    *,
    seed: int,
    folder: Path,
    positives: PositivesName = "none",
    bank: PositiveBank | None = None,
    anchors: np.ndarray | None = None,
) -> Stage:
    """Train an encoder on the train part of ``images`` and write it to ``folder``.

    Args:
        images: the data; labels serve the online kNN alone.
        config: method, positives' weight, networks, optimisation.
        hardware: devices.
        seed: names the initial weights and all draws.
        folder: gets encoder.safetensors, config.json, snippet.py, views.png, metrics.jsonl, checkpoints/.
        positives: source of the additional positive, see `clsp.positives.config.PositivesName`.
        bank: the bank, for the sources that need one.
        anchors: dataset indices of the images to train on, int64 [N], sorted; default: chosen by ``config`` and seed.

    Raises:
        UserError: the bank or the pairs belong to other data, the batch is larger than the data, a loss became
            non-finite, or the folder belongs to other settings.
    """
    require_views(config.backbone, images.size, config.augment)
    check_crops(config)
    inputs = {"data": images.fingerprint}
    if anchors is None:
        anchors = _anchors(images, config, seed, bank if positives in NEEDS_BANK else None)
    else:
        inputs["anchors"] = files.fingerprint(anchors.tolist())
    check_positives(positives, config)
    pairs = pairs_for(positives, config.positive_pairs, images.train.names)
    inputs |= _read_by(positives, bank, pairs, images)
    settings = {"seed": seed, "positives": positives, **settings_of(config, positives)}
    name = config.method if positives == "none" else f"{config.method}+{positives}"
    defaults = settings_of(PretrainConfig(method=config.method), positives)
    with stage(f"encoder {name}", folder, settings=settings, inputs=inputs, defaults=defaults) as current:
        if current.finished:
            return current
        torch.manual_seed(seed)
        mean, std = _statistics(images, anchors)
        spec = EncoderSpec(
            name=config.backbone.name,
            args=config.backbone.args,
            stem=stem_for(config.backbone, images.size),
            channels=images.channels,
            size=images.size,
            mean=mean,
            std=std,
        )
        module = _module(images, config, spec, anchors, positives, bank, pairs, seed)
        hardware.require_layers(module.method)
        hardware.compile_parts(module.method.networks())
        fit = Fit(
            folder=folder,
            title=f"encoder {name}",
            steps=module.total_steps,
            precision=config.precision,
            hardware=hardware,
            checkpoint_minutes=config.checkpoint_minutes,
            on_checkpoint=current.keep_time,
            log_every=config.log_every,
        )
        fit.run(module)
        flops = _flops(module)  # on every process: they exchange embeddings
        if distributed.rank() == 0:
            made_from = {"method": name, "data": images.source, "fingerprint": images.fingerprint, "seed": seed}
            save_encoder(folder, module.method.encoder, spec, made_from)
            _draw_views(module, folder / "views.png")
            current.facts = {"arm": name, "anchors": len(anchors), "steps": module.total_steps, "flops": flops}
    return current


def settings_of(config: PretrainConfig, positives: PositivesName) -> dict[str, Any]:
    """The values that decide what is learned: of the methods' sections the chosen one's, and lambda where it counts."""
    without = {*_NO_RESULT, *(name for name in NAMES if name != config.method)}
    if positives in ("none", "extra"):
        without |= {name for name in PretrainConfig.__dataclass_fields__ if name.startswith("positive_")}
    return {name: value for name, value in asdict(config).items() if name not in without}


def _read_by(
    positives: PositivesName, bank: PositiveBank | None, pairs: PairList | None, images: Images
) -> dict[str, str]:
    """Fingerprints of what the positives are read from.

    Raises:
        UserError: the bank is missing, or it belongs to other data.
    """
    if pairs is not None:
        return {"pairs": pairs.fingerprint}
    if positives not in NEEDS_BANK:
        return {}
    if bank is None:
        raise UserError(f"positives '{positives}' need a bank; give --positives BANK")
    bank.require_data(images.fingerprint, images.source)
    return {"bank": bank.fingerprint}


def _module(
    images: Images,
    config: PretrainConfig,
    spec: EncoderSpec,
    anchors: np.ndarray,
    positives: PositivesName,
    bank: PositiveBank | None,
    pairs: PairList | None,
    seed: int,
) -> Pretraining:
    encoder = spec.build()
    if config.backbone.channels_last:
        to_channels_last(encoder)
    pixels, ids, labels = Pixels(images.train.images, anchors), anchors, images.train.labels
    labels = None if labels is None else labels[anchors]
    if positives == "extra" and bank is not None:
        array, ids = inflated(images.train.images, anchors, bank)
        pixels, labels = Pixels(array), None
        config = replace(config, augment=weaker(config.augment))
    train, window = images.train, config.positive_window
    material = Material(pixels, ids, labels, train.images, train.names, bank, pairs, window)
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    data = TrainingData(material=material, positives=positives, mean=mean, std=std, anchors=len(anchors))
    method = build_method(encoder, config, seed=seed)
    return Pretraining(method, data, config, seed=seed, knn=OnlineKNN.of(images.train, seed=seed))


def _flops(module: Pretraining) -> float:
    """Count the FLOPs of the whole training: those of one step, forward and backward, times steps and processes."""
    module.method.before_step(1.0)

    def step() -> None:
        # In the middle of the training: at its beginning memories and prototypes rest.
        losses = module.method(replace(module.views_of(0), done=0.5))
        loss = torch.stack(list(losses.terms.values())).sum()
        (loss if losses.pull is None else loss + alignment(*losses.pull)).backward()

    return count_flops(step) * module.total_steps * distributed.world_size()


def _anchors(images: Images, config: PretrainConfig, seed: int, bank: PositiveBank | None) -> np.ndarray:
    """Choose the images to train on; with a bank and no number, those that have candidates."""
    if bank is not None and config.images is None:
        return bank.ids
    anchors = subset(len(images.train), config.images, seed=seed)
    if len(anchors) < 2:
        raise UserError(f"{images.source} has {len(anchors)} image to train on; contrastive training needs at least 2")
    return anchors


def _statistics(images: Images, anchors: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every channel over (at most 10,000 of) the anchors, on [0, 1]."""
    some = anchors[:: max(len(anchors) // 10_000, 1)]
    pixels = files.take(images.train.images, some)
    mean, std = pixels.mean(axis=(0, 2, 3)) / 255.0, pixels.std(axis=(0, 2, 3)) / 255.0
    return [round(float(v), 6) for v in mean], [round(max(float(v), 1e-3), 6) for v in std]


def _draw_views(module: Pretraining, path: Path) -> None:
    """Draw some anchors as the last step saw them: the image, its views, and the additional positive."""
    views = module.views_of(module.total_steps - 1)
    whole = [part for part in (views.first, views.second, views.positive) if part is not None]
    parts = [part[:_SHEET] for part in (*whole, *views.local)]
    positions = module.batches.positions(module.total_steps - 1)[:_SHEET].to(module.device)
    originals = module.pixels[positions].cpu()
    pictures = [(part * module.std + module.mean).clamp(0, 1).cpu() for part in parts]
    enlarged = [F.interpolate(picture, originals.shape[-2:]) for picture in pictures]  # views may be smaller
    drawn = [(picture * 255).round().to(torch.uint8) for picture in enlarged]
    save_sheet(path, torch.stack([originals, *drawn], dim=1).numpy(), separate_first=True)
