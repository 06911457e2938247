"""Which values do not go together: said before the first stage runs, not hours later."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

from clsp import console, distributed, files
from clsp.encoders.backbone import build_backbone, require_views, stem_for, to_channels_last
from clsp.encoders.export import EncoderSpec
from clsp.encoders.tokens import every_patch, is_vit, require_vit
from clsp.encoders.trial import patch_of, refusal, unseen
from clsp.encoders.weights import read_weights, take_weights
from clsp.errors import UserError
from clsp.images.imageset import Images
from clsp.methods import METHODS
from clsp.methods.base import Method
from clsp.positives.source import Source
from clsp.positives.sources import SOURCES
from clsp.training.config import PretrainConfig
from clsp.training.start import Start, find_start

_TRIED: set[tuple[object, ...]] = set()
"""Backbones with their images that this process has tried."""

_SPARED = 0.1
"""Fraction of the pixels that a backbone may leave out at the edges: said, not refused."""


def needs_bank(config: PretrainConfig) -> bool:
    """Return whether the training reads a bank."""
    source = config.positive.chosen
    return config.extra or (source is not None and source.needs_bank)


def shows_generated(config: PretrainConfig) -> bool:
    """Return whether generated images are trained on, which cost what the generator costs."""
    source = config.positive.chosen
    return config.extra or (source is not None and source.generated)


def sees_labels(config: PretrainConfig) -> bool:
    """Return whether the training sees the labels: an upper bound, never a rival."""
    source = config.positive.chosen
    return METHODS[config.method].sees_labels or (source is not None and source.needs_labels)


def check_together(config: PretrainConfig, images: Images) -> None:
    """Refuse what method, positives, views and backbone cannot do together.

    Raises:
        UserError: names the option and what is allowed.
    """
    method, chosen = METHODS[config.method], config.positive
    require_views(config.backbone, images.size, config.augment)
    if config.augment.local_crops and not method.multi_crop:
        takers = ", ".join(name for name, known in METHODS.items() if known.multi_crop)
        raise UserError(
            f"--pretrain.augment.local_crops {config.augment.local_crops}: {config.method} has two whole views alone; "
            f"local crops are for {takers} (of several methods: per_method '{{swav: {{augment: {{local_crops: 6}}}}}}')"
        )
    _check_both(config)
    _check_labels(config, method, images)
    source = chosen.chosen
    if source is None:
        return
    if chosen.placement == "host":
        _check_host(config, method, source)
    elif source.level == "embedding" and chosen.third.count > 1:
        raise UserError(
            f"--pretrain.positive.third.count {chosen.third.count}: '{chosen.source}' gives one embedding of each "
            "anchor; leave it at 1, or choose a source of images"
        )


def _check_labels(config: PretrainConfig, method: type[Method], images: Images) -> None:
    """Refuse what sees labels where there are none."""
    if not sees_labels(config):
        return
    needing = f"method {config.method} needs" if method.sees_labels else f"positives '{config.positive.source}' need"
    if images.train.labels is None or not (images.train.labels >= 0).any():
        raise UserError(f"{needing} labels, and this source has none; choose another, such as simclr+view")
    if config.extra:
        raise UserError(
            f"{needing} labels, and candidates that are images of their own (extra) have none; leave it out"
        )


def _check_both(config: PretrainConfig) -> None:
    """Refuse a second source without a first, or two that do not share anchors."""
    first, second = config.positive.source, config.positive.also
    if second is None:
        return
    if first is None or first == second:
        raise UserError(f"--pretrain.positive.also {second}: name another first source, such as bank+{second}")
    for name in (first, second):
        if SOURCES[name].level == "embedding" or not SOURCES[name].one_anchor:
            share = ", ".join(known for known, kind in SOURCES.items() if kind.level == "image" and kind.one_anchor)
            raise UserError(f"positives '{name}' cannot be one of two sources; those that can: {share}")


def _check_host(config: PretrainConfig, method: type[Method], source: Source) -> None:
    chosen, third = config.positive, "choose --pretrain.positive.placement third"
    if not source.one_anchor:
        raise UserError(f"positives '{chosen.source}' belong to two anchors, and placement host pulls to one; {third}")
    if source.level == "embedding" and not method.takes_neighbours:
        raise UserError(f"method {config.method} takes no embedding in its second view's place; {third}")
    if chosen.host.weigh == "loss" and not method.weighs_pairs:
        raise UserError(
            f"method {config.method} cannot weigh pairs; choose --pretrain.positive.host.weigh chance, "
            "or placement third"
        )


def check_backbone(config: PretrainConfig, images: Images) -> None:
    """Train the backbone on some images, and on views of every size, before anything else is done.

    Raises:
        UserError: it cannot be built, cannot take such images or views, leaves out much of them, or the method does not
            suit it; names the option and what is allowed.
    """
    backbone, augment = config.backbone, config.augment
    sides = {"--images.size": images.size, "--pretrain.augment.size": augment.size or images.size}
    if augment.local_crops and METHODS[config.method].multi_crop:
        sides["--pretrain.augment.local_size"] = augment.local_side(images.size)
    asked = (
        backbone.name,
        json.dumps(backbone.architecture, sort_keys=True, default=str),
        stem_for(backbone, images.size),
    )
    key = (*asked, backbone.channels_last, images.channels, tuple(sides.items()), METHODS[config.method].patches)
    if key not in _TRIED:  # the arms of a study have one backbone
        _try(config, images.channels, images.size, sides)
        _TRIED.add(key)


def check_start(config: PretrainConfig, images: Images) -> Start | None:
    """Return what the training starts from, once it is known to fit; None: random weights.

    Raises:
        UserError: the weights are not there, cannot be read, or are another network's.
    """
    start = find_start(config)
    if start is not None and not start.whole:
        spec = EncoderSpec.of(config.backbone, images)
        with torch.random.fork_rng(devices=[]):
            model = spec.build(width=0)
        take_weights(model, read_weights(start.path), spec.name, images.channels)
    return start


def _try(config: PretrainConfig, channels: int, size: int, sides: dict[str, int]) -> None:
    """Build the backbone and train it on images of every size that the training will show it."""
    backbone, stem = config.backbone, stem_for(config.backbone, size)
    about: dict[str, Any] = {"channels": channels, "size": size, "stem": stem}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is found must not hang on what was drawn before
        model = build_backbone(backbone.name, backbone.architecture, **about)
    if backbone.channels_last:
        to_channels_last(model)
    encode = every_patch(require_vit(model)) if METHODS[config.method].patches else model
    for side, option in {side: option for option, side in reversed(sides.items())}.items():
        try:
            left = unseen(encode, channels, side)
        except Exception as error:  # every model fails in its own way
            if side == size:
                raise UserError(refusal(backbone.name, backbone.architecture, **about, error=error)) from error
            raise UserError(
                f"{option} {side}: backbone {backbone.name} takes images of {size} pixels and not such views "
                f"({files.reason(error)}); choose {size}, or another --pretrain.backbone.name such as resnet18"
            ) from error
        _judge(left, option, side, model, backbone.name)


def _judge(left: float, option: str, side: int, model: nn.Module, name: str) -> None:
    """Refuse a backbone that leaves out much of each image, and say what little it leaves out."""
    if left == 0.0:
        return
    patch = patch_of(model)
    near = [n for n in (side // patch * patch, (side // patch + 1) * patch) if n]
    ways = [f"{option} {' or '.join(map(str, near))}"] if patch > 1 else [f"another {option}"]
    if is_vit(model):
        fits = max(n for n in range(1, patch) if side % n == 0)
        ways += [f"--pretrain.backbone.args '{{patch_size: {fits}}}'"]
        ways += ["--pretrain.backbone.args '{dynamic_img_size: true, dynamic_img_pad: true}'"]
    told = f"backbone {name} does not see {left:.0%} of the pixels of images of {side} pixels"
    if left > _SPARED:
        raise UserError(f"{told}; choose {', or '.join([*ways, 'another --pretrain.backbone.name'])}")
    if distributed.rank() == 0:
        console.say(f"note: {told}, at their edges; {ways[0]} would show all")
