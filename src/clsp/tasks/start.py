"""What a task's encoder begins as: one that was pretrained, timm's weights, or random ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from clsp import console, distributed, files
from clsp.encoders.backbone import to_channels_last
from clsp.encoders.config import BackboneConfig
from clsp.encoders.export import EncoderSpec, encoder_folder, load_encoder, read_spec
from clsp.encoders.weights import TIMM, find_weights, read_weights, take_weights
from clsp.errors import UserError
from clsp.images.imageset import Images, channel_statistics


@dataclass(frozen=True)
class Beginning:
    """Where the encoder comes from."""

    spec: EncoderSpec
    """Without statistics of the images where it is not an encoder of clsp."""
    folder: Path | None = None
    """An encoder's folder."""
    weights: Path | None = None
    """A file with timm's names."""

    @property
    def pretrained(self) -> bool:
        """Whether it has learnt something."""
        return self.folder is not None or self.weights is not None

    @property
    def made(self) -> dict[str, str]:
        """What it is made from, by its hash."""
        path = self.folder / "encoder.safetensors" if self.folder else self.weights
        return {} if path is None else {"encoder": files.file_hash(path)[:16]}

    def described(self, images: Images, rows: np.ndarray) -> EncoderSpec:
        """The encoder's spec, with the statistics of the train images ``rows`` where it does not have any yet."""
        if self.folder is not None:
            return self.spec
        mean, std = channel_statistics(images, rows)
        return replace(self.spec, mean=mean, std=std)

    def build(self, backbone: BackboneConfig) -> nn.Module:
        """Make the encoder with its first weights."""
        if self.folder is not None:
            encoder = load_encoder(self.folder).train()
        else:
            encoder = self.spec.build()
            if self.weights is not None:
                taken = take_weights(encoder, read_weights(self.weights), self.spec.name, self.spec.channels)
                if distributed.rank() == 0:
                    console.say(f"weights of {self.weights}: {taken}")
        return to_channels_last(encoder) if backbone.channels_last else encoder


def find_beginning(encoder: str | None, images: Images, backbone: BackboneConfig) -> Beginning:
    """Find what ``--encoder`` names.

    Args:
        encoder: None (random weights), ``timm`` or ``timm:TAG``, a .safetensors file with timm's names, the folder of
            an encoder, or of a run.
        images: the data.
        backbone: what is taken where no encoder of clsp is named.

    Raises:
        UserError: it is not there, or takes images of another number of channels.
    """
    own = EncoderSpec.of(backbone, images)
    if encoder is None:
        return Beginning(own)
    folder = Path(encoder)
    if folder.suffix == ".safetensors" or (encoder.partition(":")[0] == TIMM and not folder.exists()):
        return Beginning(own, weights=find_weights(encoder, backbone.name, option="--encoder"))
    folder = encoder_folder(folder)
    spec = read_spec(folder)
    if spec.channels != images.channels:
        raise UserError(
            f"--encoder {encoder} takes images of {spec.channels} channels, and these have {images.channels}; "
            f"give --images.channels {spec.channels}"
        )
    return Beginning(spec, folder=folder)
