"""What a conditional diffusion model is told of an image: its features by an encoder that was pretrained before.

The rival of feature interpolation: the model learns to draw an image from its embedding, and a candidate is drawn from
its anchor's, as in Gen-SIS (Belagali et al., arXiv 2412.01672), there with a latent model. Nothing is mixed, but a
first encoder must be paid for.

The features of the train images are centred, turned to their principal axes, cut to what the embedding of the time
step has room for, and scaled by one number, so that they have variance 1 in the mean. The U-Net adds them to that
embedding (diffusers' ``class_embed_type`` ``identity``), and its blocks learn what to make of them. Zeros are what it
is told of no image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from safetensors.torch import save
from torch import Tensor, nn

from clsp import distributed, files
from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.unet import Grid
from clsp.encoders.cost import pretraining_cost
from clsp.encoders.export import Normalised, encoder_folder, load_encoder, read_config, read_spec
from clsp.engine.memory import in_batches
from clsp.engine.record import Record
from clsp.errors import UserError

if TYPE_CHECKING:
    from clsp.images.imageset import Images

OPTION = "--diffusion.condition"
FOLDER, _AXES = "condition", "axes.safetensors"
_WEIGHTS = "encoder.safetensors"
_FIX = "give the diffusion model's folder as 'clsp diffusion' wrote it, or train it again"
_AT_ONCE = 500


class Condition(nn.Module):
    """From images to what a U-Net is told of them.

    Args:
        folder: the encoder's.
        center: mean of the train images' features, float [D].
        axes: principal axes, scaled, float [D, W]; W is the width of the U-Net's embedding of the time step.
        spent: what the encoder's pretraining took: ``seconds`` and ``flops``, where they are known.
    """

    center: Tensor
    axes: Tensor

    def __init__(self, folder: Path, center: Tensor, axes: Tensor, spent: dict[str, float] | None = None) -> None:
        super().__init__()
        self.folder, self.spent, self.digest = folder, spent or {}, digest_of(folder)
        spec = read_spec(folder)
        self.size = (spec.size, spec.size)
        self.encoder = Normalised(load_encoder(folder), spec).eval().requires_grad_(False)
        self.register_buffer("center", center)
        self.register_buffer("axes", axes)

    def forward(self, images: Tensor) -> Tensor:
        """Images, float [B, C, H, W] in [-1, 1], to float32 [B, W]; in 32 bit whatever the rest is computed in."""
        return (self.features(images) - self.center) @ self.axes

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """The encoder's features of images, brought to its size: float32 [B, D]."""
        with torch.autocast(images.device.type, enabled=False):
            seen = images.float()
            if seen.shape[-2:] != self.size:
                seen = F.interpolate(seen, self.size, mode="bicubic", antialias=True).clamp(-1.0, 1.0)
            found: Tensor = self.encoder((seen + 1.0) / 2.0)
            return found

    def features_of(self, images: files.Array) -> Tensor:
        """The features of uint8 images [N, C, H, W]: float32 [N, D], on the encoder's device."""

        def encoded(first: int, last: int) -> Tensor:
            batch = torch.from_numpy(files.take(images, np.arange(first, last))).to(self.center.device)
            return self.features(batch.float() / 127.5 - 1.0)

        return torch.cat(in_batches(encoded, len(images), _AT_ONCE))

    def save(self, folder: Path) -> None:
        """Write the encoder and the axes into ``folder / "condition"``, so that the model's folder is enough."""
        place = folder / FOLDER
        if place != self.folder:
            files.make_folder(place)
            for name in ("config.json", _WEIGHTS):
                files.write_bytes(place / name, (self.folder / name).read_bytes())
        tensors = {"center": self.center.cpu().contiguous(), "axes": self.axes.cpu().contiguous()}
        files.write_bytes(place / _AXES, save(tensors, {name: repr(value) for name, value in self.spent.items()}))


def find_encoder(config: DiffusionConfig, images: Images, kept: Path | None = None) -> Path | None:
    """Return the folder of the encoder by which the model is to be told; None: it is told nothing.

    Args:
        config: the model's.
        images: the data.
        kept: a model's folder, which may hold the encoder where the one that is named is gone.

    Raises:
        UserError: no encoder is there, or it is for other images.
    """
    if config.condition is None:
        return None
    folder = encoder_folder(config.condition)
    if not (folder / "config.json").is_file() and kept is not None:
        folder = kept / FOLDER
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{OPTION} {config.condition}: no encoder there; give a run, or a folder that 'clsp pretrain' wrote"
        )
    spec = read_spec(folder)
    if (spec.channels, spec.size) != (images.channels, images.size):
        raise UserError(
            f"{OPTION} {config.condition} takes {spec.channels}-channel images of {spec.size} pixels, the data have "
            f"{images.channels} and {images.size}; add --images.channels {spec.channels} --images.size {spec.size}"
        )
    return folder


def digest_of(encoder: Path) -> str:
    """Return a sha256 (16 hex digits) over the weights of the encoder in a folder and what they need."""
    about = repr(sorted(asdict(read_spec(encoder)).items())).encode()
    return hashlib.sha256(files.file_hash(encoder / _WEIGHTS).encode() + about).hexdigest()[:16]


def condition_for(
    encoder: Path,
    images: files.Array,
    folder: Path,
    *,
    width: int,
    device: torch.device | str = "cpu",
    start: Condition | None = None,
) -> tuple[Condition, Tensor]:
    """Find what a U-Net is told of the images that it learns.

    The axes are those of the model that it starts from, those that an interrupted training began with, or new ones.

    Args:
        encoder: the encoder's folder.
        images: uint8 [N, C, H, W].
        folder: the model's, which keeps what was found.
        width: of the U-Net's embedding of the time step.
        device: where the encoder works.
        start: what the model is told that the weights are taken from.

    Returns:
        The condition, and what is told of the images: float32 [N, W].

    Raises:
        UserError: the encoder is damaged, gives all images the same features, or is not the one of ``start``.
    """
    digest, kept = digest_of(encoder), folder / FOLDER
    if start is not None and start.digest != digest:
        raise UserError(f"{OPTION} {encoder} is another encoder than --diffusion.weights was trained with; give that")
    begun = start is None and distributed.agreed((kept / _AXES).is_file() and digest_of(kept) == digest)
    if begun:
        found = _read(kept, width).to(device)
    else:
        count = read_config(encoder).num_features
        known = (torch.zeros(count), torch.zeros(count, width)) if start is None else (start.center, start.axes)
        found = Condition(encoder, *known, pretraining_cost(encoder)).to(device)
    features = found.features_of(images)
    if start is None and not begun:
        center, axes = distributed.agreed(_fitted(features.double().cpu(), width))
        if axes is None:
            raise UserError(f"{OPTION} {encoder} gives all images the same features; give one that tells them apart")
        found.center, found.axes = center.to(device), axes.to(device)
    if distributed.rank() == 0:
        found.save(folder)
    return found, (features - found.center) @ found.axes


def _fitted(features: Tensor, width: int) -> tuple[Tensor, Tensor | None]:
    """Mean [D] and axes [D, width] of features [N, D], by falling variance, 1 in the mean; None: they do not vary."""
    center = features.mean(dim=0)
    centred = features - center
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(features))
    variances, axes = variances.flip(0)[:width], axes.flip(1)[:, :width]
    if not float(variances.mean()) > 1e-12:
        return center.float(), None
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    axes = axes * largest.sign() / variances.mean().sqrt()
    return center.float(), F.pad(axes, (0, width - axes.shape[1])).float()


def load_condition(folder: Path, unet: UNet2DModel) -> Condition | None:
    """Load what the model in ``folder`` is told by; None: it is told nothing.

    Raises:
        UserError: a file is damaged, or does not fit the U-Net or the others.
    """
    place = folder / FOLDER
    if unet.config.class_embed_type != "identity" or not place.is_dir():
        return None
    found = _read(place, told_width(unet.config.block_out_channels))
    Grid.of(unet, read_spec(place).channels)
    return found


def _read(place: Path, width: int) -> Condition:
    path = place / _AXES
    tensors, said = files.read_tensors(path, fix=_FIX)
    with files.foreign(path, _FIX, what="does not fit its encoder or U-Net"):
        center, axes = tensors["center"].float(), tensors["axes"].float()
        count = read_config(place).num_features
        if (center.shape, axes.shape) != ((count,), (count, width)):
            raise ValueError(f"axes of {list(axes.shape)} for {count} features and {width} values that are told")
        spent: dict[str, float] = {name: float(said[name]) for name in ("seconds", "flops") if name in said}
        return Condition(place, center, axes, spent)


def conditioned(record: Record) -> dict[str, float]:
    """What the encoder took that conditions the model of ``record``: ``seconds`` and ``flops``; 0 where unknown.

    Raises:
        TypeError, ValueError: the record was written by hand.
    """
    known = record.facts.get("condition", {})
    return {what: float(known.get(what, 0.0)) for what in ("seconds", "flops")}


def told_width(widths: Sequence[int]) -> int:
    """How many values a U-Net of these widths can be told of an image: that many has its embedding of the time step."""
    return 4 * int(widths[0])


def untold(unet: UNet2DModel, images: int) -> dict[str, Tensor]:
    """What a call of a conditional U-Net needs that is told of no image; nothing for an unconditional one."""
    if unet.config.class_embed_type != "identity":
        return {}
    return {"class_labels": torch.zeros(images, told_width(unet.config.block_out_channels), device=unet.device)}
