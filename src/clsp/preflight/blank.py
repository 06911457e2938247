"""A training of a plan: the networks and the step of a run, of images without content."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clsp.encoders.backbone import stem_for
from clsp.encoders.export import EncoderSpec
from clsp.engine.pixels import Pixels
from clsp.images.imageset import Images
from clsp.positives.source import Material, Positive
from clsp.training.config import PretrainConfig
from clsp.training.pretrain import build_method
from clsp.training.step import Pretraining


class _Blank(Pixels):
    """Black images of a data set's number and size, which take no memory."""

    def __init__(self, count: int, images: Images) -> None:
        self.shape = (count, images.channels, images.size, images.size)

    def to(self, device: torch.device) -> Pixels:
        """They are everywhere."""
        return self

    def __getitem__(self, positions: Tensor) -> Tensor:
        return torch.zeros(len(positions), *self.shape[1:], dtype=torch.uint8, device=positions.device)


def blank_training(images: Images, count: int, config: PretrainConfig) -> Pretraining:
    """Make the training as a run has it, of ``count`` black images; its additional positives are the anchors again."""
    backbone, gray = config.backbone, [0.5] * images.channels
    spec = EncoderSpec(
        name=backbone.name,
        args=backbone.architecture,
        stem=stem_for(backbone, images.size),
        channels=images.channels,
        size=images.size,
    )
    labels = None if images.train.labels is None else np.arange(count) % 10
    material = Material(_Blank(count, images), np.arange(count), labels, images.train.images, images.train.names)
    statistics = torch.tensor(gray), torch.tensor(gray)
    training = Pretraining(build_method(spec, config, seed=0), config, material, count, *statistics, seed=0)
    source = config.positive.chosen
    if source is not None and source.level == "image":
        training.draw = lambda positions, anchors, step: Positive(anchors)
    return training
