"""What a task's encoder begins as: one that was pretrained, timm's weights, or random ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from clsp import console, distributed, files
from clsp.encoders.backbone import to_channels_last
from clsp.encoders.config import BackboneConfig
from clsp.encoders.export import EncoderSpec, load_encoder, read_spec
from clsp.encoders.weights import TIMM, find_weights, read_weights, take_weights
from clsp.errors import UserError
from clsp.images.imageset import Images


@dataclass(frozen=True)
class Beginning:
    """Where the encoder comes from."""

    spec: EncoderSpec
    """Without statistics of the images where it is not an encoder of clsp."""
    folder: Path | None = None
    """An encoder's folder."""
    weights: Path | None = None
    """A file of timm's weights."""

    @property
    def pretrained(self) -> bool:
        """Whether it has learnt something."""
        return self.folder is not None or self.weights is not None

    @property
    def made(self) -> dict[str, str]:
        """What it is made from, by its hash."""
        path = self.folder / "encoder.safetensors" if self.folder else self.weights
        return {} if path is None else {"encoder": files.file_hash(path)[:16]}

    def build(self, backbone: BackboneConfig) -> nn.Module:
        """Make the encoder with its first weights."""
        if self.folder is not None:
            encoder = load_encoder(self.folder).train()
        else:
            encoder = self.spec.build()
            if self.weights is not None:
                taken = take_weights(encoder, read_weights(self.weights), self.spec.name, self.spec.channels)
                if distributed.rank() == 0:
                    console.say(f"weights of timm: {taken}")
        return to_channels_last(encoder) if backbone.channels_last else encoder


def with_statistics(beginning: Beginning, images: Images, train: files.Array) -> EncoderSpec:
    """The encoder's spec with mean and standard deviation of the channels, where it does not have them yet.

    Args:
        beginning: what the encoder begins as.
        images: the data.
        train: the images that are learnt from, uint8 [N, C, H, W].
    """
    spec = beginning.spec if beginning.folder else replace(beginning.spec, size=images.size)
    if spec.mean:
        return spec
    pixels = files.take(train, np.arange(0, len(train), max(len(train) // 10_000, 1)))
    mean, std = pixels.mean(axis=(0, 2, 3)) / 255.0, (pixels.std(axis=(0, 2, 3)) / 255.0).clip(min=1e-3)
    return replace(spec, mean=[round(float(v), 6) for v in mean], std=[round(float(v), 6) for v in std])


def find_beginning(encoder: str | None, images: Images, backbone: BackboneConfig) -> Beginning:
    """Find what ``--encoder`` names.

    Args:
        encoder: None (random weights), ``timm`` or ``timm:TAG``, the folder of an encoder, or of a run.
        images: the data.
        backbone: what is taken where no encoder of clsp is named.

    Raises:
        UserError: it is not there, or takes images of another number of channels.
    """
    own = EncoderSpec.of(backbone, images)
    if encoder is None:
        return Beginning(own)
    folder = Path(encoder)
    if encoder.partition(":")[0] == TIMM and not folder.exists():
        return Beginning(own, weights=find_weights(encoder, backbone.name))
    folder = folder / "encoder" if (folder / "encoder" / "config.json").exists() else folder
    spec = read_spec(folder)
    if spec.channels != images.channels:
        raise UserError(
            f"--encoder {encoder} takes images of {spec.channels} channels, and these have {images.channels}; "
            f"give --images.channels {spec.channels}"
        )
    with torch.random.fork_rng(devices=[]):
        load_encoder(folder)  # whether its weights can be read, before anything is trained
    return Beginning(spec, folder=folder)
