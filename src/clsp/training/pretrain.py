"""The stage that trains an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from clsp import distributed, files
from clsp.encoders.backbone import to_channels_last
from clsp.encoders.export import EncoderSpec, save_encoder
from clsp.engine.course import Pace, paced, told
from clsp.engine.finite import diverged
from clsp.engine.fit import Callback, Fit
from clsp.engine.flops import count_flops
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import launch
from clsp.engine.pixels import Pixels
from clsp.engine.stage import Stage, stage
from clsp.errors import UserError
from clsp.evaluation.online import OnlineKNN
from clsp.images.imageset import Images, channel_statistics, subset
from clsp.images.sheet import save_sheet
from clsp.methods import METHODS
from clsp.methods.base import Method
from clsp.positives.bank import PositiveBank
from clsp.positives.inflation import inflated, weaker
from clsp.positives.source import Material
from clsp.training.callbacks import HealthCheck, NeighbourCheck, OnlineCheck
from clsp.training.checks import check_backbone, check_start, check_together, needs_bank, sees_labels
from clsp.training.config import PretrainConfig
from clsp.training.start import Start
from clsp.training.step import Pretraining, Seen
from clsp.training.witnesses import witnesses

MAKES = (
    "encoder.safetensors",
    "config.json",
    "snippet.py",
    "views.png",
    "metrics.jsonl",
    "checkpoints/last.safetensors",
)
"""What the stage makes."""

_SHEET = 12
"""Anchors on the picture of the views."""


def pretrain(
    images: Images,
    config: PretrainConfig,
    hardware: HardwareConfig,
    *,
    seed: int,
    folder: Path,
    bank: PositiveBank | None = None,
    anchors: np.ndarray | None = None,
    callbacks: Sequence[Callback[Seen]] = (),
    pace: Pace | None = None,
    unseen: np.ndarray | None = None,
) -> Stage:
    """Train an encoder on the train part of ``images`` and write it to ``folder``.

    Args:
        images: the data; labels serve the online kNN alone, and the upper bounds that say so.
        config: method, positives, networks, optimisation.
        hardware: devices.
        seed: names the initial weights and all draws.
        folder: gets encoder.safetensors, config.json, snippet.py, views.png, metrics.jsonl, checkpoints/.
        bank: the bank, for the positives that need one.
        anchors: dataset indices of the images to train on, int64 [N], sorted; default: chosen by ``config`` and seed.
        callbacks: further ones; what they return is logged.
        pace: keeps the training within a time, in place of the number of epochs in ``config``.
        unseen: dataset indices whose labels no training may see, int64 [U], as they are to be tested on.

    Raises:
        UserError: the bank or the pairs belong to other data, the batch is larger than the data, a loss became
            non-finite, or the folder belongs to other settings.
    """
    launch(hardware)
    check_together(config, images)
    name, source = arm_of(config), config.positive.chosen
    chosen = {} if anchors is None else {"anchors": files.fingerprint(anchors.tolist())}
    if anchors is None:
        anchors = _anchors(images, config, seed, bank if needs_bank(config) else None)
    made = {} if source is None else source.reads(images.train.names)
    if needs_bank(config):
        made |= {"bank": _checked(bank, name, images).fingerprint}
    check_backbone(config, images)
    start = check_start(config, images)
    chosen |= {} if start is None else {"weights": start.digest}
    unseen = unseen if sees_labels(config) and unseen is not None and len(unseen) else None
    chosen |= {} if unseen is None else {"unseen": files.fingerprint(unseen.tolist())}
    data, hint = images.fingerprint, _hint(config, folder)
    about: dict[str, Any] = {"data": data, "made": made, "settings": chosen, "makes": MAKES, "hint": hint}
    with stage(f"encoder {name}", folder, config, seed=seed, **about) as current:
        if current.finished:
            return current
        torch.manual_seed(seed)
        training, spec = build(images, config, anchors, bank, seed=seed, start=start, unseen=unseen)
        hardware.require_layers(training.method)
        hardware.compile_parts(training.method.networks())
        knn = OnlineCheck(OnlineKNN.of(images.train, seed=seed), config.knn_every)
        fit = Fit(
            folder=folder,
            title=f"encoder {name}",
            precision=config.precision,
            hardware=hardware,
            checkpoint_minutes=config.checkpoint_minutes,
            on_checkpoint=current.keep_time,
            pace=paced(pace, training.course, current.facts, current.spent),
            log_every=config.log_every,
            callbacks=(HealthCheck(), NeighbourCheck(), *witnesses(), knn, *callbacks),
            batch_setting="pretrain.batch_size",
        )
        fit.run(training)
        _require_finite_features(training, folder)
        # On every process, for they exchange embeddings and ids.
        flops, seen = training_flops(training), _last_views(training)
        if distributed.rank() == 0:
            made_from = {"method": name, "data": images.source, "fingerprint": data, "seed": seed}
            save_encoder(folder, training.method.encoder, spec, made_from)
            save_sheet(folder / "views.png", seen, separate_first=True)
            current.facts = {"arm": name, "anchors": len(anchors), "flops": flops, **told(training.course)}
    return current


def _hint(config: PretrainConfig, folder: Path) -> str:
    """What to do with a training of other settings that is there: train on from it."""
    if not (folder / "checkpoints" / "last.safetensors").is_file():
        return ""
    return f"; to train on from it: clsp continue {folder} --epochs {config.epochs} --out NEW"


def arm_of(config: PretrainConfig) -> str:
    """Return what is trained in a word, for messages: the method, and where its additional positive comes from."""
    words = (config.method, config.positive.source, config.positive.also, "extra" if config.extra else None)
    return "+".join(word for word in words if word)


def build(
    images: Images,
    config: PretrainConfig,
    anchors: np.ndarray,
    bank: PositiveBank | None,
    *,
    seed: int,
    start: Start | None = None,
    unseen: np.ndarray | None = None,
) -> tuple[Pretraining, EncoderSpec]:
    """Make the training with its first weights, random or those of ``start``, and the encoder's spec.

    ``unseen``: dataset indices whose labels stay hidden, int64 [U].
    """
    mean, std = channel_statistics(images, anchors)
    spec, train = replace(EncoderSpec.of(config.backbone, images), mean=mean, std=std), images.train
    pixels, ids, labels = Pixels(train.images, anchors), anchors, train.labels
    if labels is not None:
        labels = labels[anchors] if unseen is None else np.where(np.isin(anchors, unseen), -1, labels[anchors])
    if config.extra and bank is not None:
        array, ids = inflated(train.images, anchors, bank)
        pixels, labels = Pixels(array), None
        config = replace(config, augment=weaker(config.augment))
    material = Material(pixels, ids, labels, train.images, train.names, bank)
    method = build_method(spec, config, seed=seed, start=start)
    if start is not None:
        start.begin_method(method, images.fingerprint)
    statistics = torch.tensor(mean), torch.tensor(std)
    return Pretraining(method, config, material, len(anchors), *statistics, seed=seed), spec


def build_method(spec: EncoderSpec, config: PretrainConfig, *, seed: int, start: Start | None = None) -> Method:
    """Make the method of ``config`` around its encoder, with its source of embeddings where it has one."""
    encoder = spec.build()
    if start is not None:
        start.begin_encoder(encoder, spec.name, spec.channels)
    if config.backbone.channels_last:
        to_channels_last(encoder)
    method = METHODS[config.method](encoder, config.heads, config.own, seed=seed)
    source, chosen = config.positive.chosen, config.positive
    if source is not None and source.level == "embedding":
        host = chosen.host if chosen.placement == "host" else None
        method.neighbour = source.search(config.projector.dim, seed=seed, host=host)
    return method


def training_flops(training: Pretraining) -> float:
    """Count the FLOPs of the whole training: those of one step, forward and backward, times steps and processes.

    The step is one in the middle of the training: at its beginning memories and prototypes rest. Nothing of it stays:
    the statistics of BatchNorm are what they were.
    """
    kept = {name: buffer.clone() for name, buffer in training.named_buffers()}
    places = training.batches.positions(0, training.mean.device)
    flops = count_flops(lambda: training.step(0, places, 0.5).loss.backward())
    for name, buffer in training.named_buffers():
        buffer.copy_(kept[name])
    training.zero_grad(set_to_none=True)
    return flops * training.steps * distributed.world_size()


def _checked(bank: PositiveBank | None, name: str, images: Images) -> PositiveBank:
    """Return the bank.

    Raises:
        UserError: it is missing, or it belongs to other data.
    """
    if bank is None:
        raise UserError(f"{name} needs a bank; give --positives BANK")
    bank.require_data(images.fingerprint, images.source)
    return bank


def _anchors(images: Images, config: PretrainConfig, seed: int, bank: PositiveBank | None) -> np.ndarray:
    """Choose the images to train on; with a bank and no number, those that have candidates."""
    if bank is not None and config.images is None:
        return bank.ids
    anchors = subset(len(images.train), config.images, seed=seed)
    if len(anchors) < 2:
        raise UserError(f"{images.source} has {len(anchors)} image to train on; contrastive training needs at least 2")
    return anchors


def _require_finite_features(training: Pretraining, folder: Path) -> None:
    """Refuse to keep an encoder whose weights are finite and its features are not: one last huge step does that.

    Raises:
        NonFiniteLossError: says so.
    """
    encoder, images = training.method.encoder, training.views(training.steps - 1).first
    with torch.no_grad():
        finite = bool(encoder.eval()(images).isfinite().all())
    encoder.train()
    if not finite:
        raise diverged("encoder's features", training.steps, folder)


def _last_views(training: Pretraining) -> np.ndarray:
    """Some anchors as the last step saw them: the image, its views, and the additional positive.

    Returns:
        uint8 [N, P, C, H, W] of N anchors with P pictures each.
    """
    last = training.steps - 1
    views = training.views(last)
    parts = [part[:_SHEET] for part in (views.first, views.second, *views.positives, *views.local)]
    positions = training.batches.positions(last)[:_SHEET].to(training.mean.device)
    originals = training.material.pixels[positions].cpu()
    pictures: list[Any] = [(part * training.std + training.mean).clamp(0, 1).cpu() for part in parts]
    enlarged = [F.interpolate(picture, originals.shape[-2:]) for picture in pictures]  # views may be smaller
    drawn = [(picture * 255).round().to(torch.uint8) for picture in enlarged]
    return torch.stack([originals, *drawn], dim=1).numpy()
