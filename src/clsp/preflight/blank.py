"""A training of a plan: the networks and the step of a run, of images without content."""

from __future__ import annotations

import numpy as np
import torch

from clsp.encoders.export import EncoderSpec
from clsp.engine.pixels import BlankPixels
from clsp.images.imageset import Images
from clsp.positives.source import Material, Positive
from clsp.training.config import PretrainConfig
from clsp.training.pretrain import build_method
from clsp.training.step import Pretraining


def blank_training(images: Images, count: int, config: PretrainConfig) -> Pretraining:
    """Make the training as a run has it, of ``count`` black images; its additional positives are the anchors again."""
    spec, gray = EncoderSpec.of(config.backbone, images), [0.5] * images.channels
    labels = None if images.train.labels is None else np.arange(count) % 10
    pixels = BlankPixels((count, images.channels, images.size, images.size))
    material = Material(pixels, np.arange(count), labels, images.train.images, images.train.names)
    statistics = torch.tensor(gray), torch.tensor(gray)
    training = Pretraining(build_method(spec, config, seed=0), config, material, count, *statistics, seed=0)
    source = config.positive.chosen
    if source is not None and source.level == "image":
        training.draw = lambda positions, anchors, step: Positive(anchors)
    return training
