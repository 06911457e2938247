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
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from safetensors.torch import save
from torch import Tensor, nn

from clsp import distributed, files
from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.folder import located
from clsp.diffusion.unet import Grid
from clsp.encoders.cost import pretraining_cost
from clsp.encoders.export import Normalised, encoder_folder, load_encoder, read_config, read_spec
from clsp.encoders.features import encode_by
from clsp.engine.record import Record
from clsp.errors import UserError

if TYPE_CHECKING:
    from clsp.images.imageset import Images

OPTION = "--diffusion.condition"
FOLDER, _AXES = "condition", "axes.safetensors"
_WEIGHTS = "encoder.safetensors"
_FIX = "give the diffusion model's folder as 'clsp diffusion' wrote it, or train it again"


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
        self.folder, self.spent = folder, spent or {}
        spec = read_spec(folder)
        self.size = (spec.size, spec.size)
        self.encoder = Normalised(load_encoder(folder), spec).eval().requires_grad_(False)
        self.register_buffer("center", center)
        self.register_buffer("axes", axes)

    @cached_property
    def digest(self) -> str:
        """What the encoder is, see `digest_of`."""
        return digest_of(self.folder)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images, float [B, C, H, W] in [-1, 1], to float32 [B, W]; in 32 bit whatever the rest is computed in.

        They are brought to the encoder's size.
        """
        with torch.autocast(images.device.type, enabled=False):
            seen = images.float()
            if seen.shape[-2:] != self.size:
                seen = F.interpolate(seen, self.size, mode="bicubic", antialias=True).clamp(-1.0, 1.0)
            return self.of(self.encoder((seen + 1.0) / 2.0))

    def of(self, features: Tensor) -> Tensor:
        """The encoder's features, float32 [B, D], to what is told: [B, W]."""
        return (features - self.center) @ self.axes

    def save(self, folder: Path) -> None:
        """Write the encoder and the axes into ``folder / "condition"``, so that the model's folder is enough."""
        place = folder / FOLDER
        if place != self.folder:
            files.make_folder(place)
            for name in ("config.json", _WEIGHTS):
                files.write_bytes(place / name, files.read_bytes(self.folder / name))
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
        The condition, and what is told of the images: float32 [N, W], on the CPU.

    Raises:
        UserError: the encoder is damaged, gives all images the same features, or is not the one of ``start``.
    """
    kept = folder / FOLDER
    if start is not None and start.digest != digest_of(encoder):
        raise UserError(f"{OPTION} {encoder} is another encoder than --diffusion.weights was trained with; give that")
    begun = start is None and distributed.agreed((kept / _AXES).is_file() and digest_of(kept) == digest_of(encoder))
    (features,) = encode_by(encoder, [images], device=device)
    if begun:
        found = _read(kept, width)
    else:
        fitted = (start.center, start.axes) if start is not None else distributed.agreed(_fitted(features, width))
        if fitted is None:
            raise UserError(f"{OPTION} {encoder} gives all images the same features; give one that tells them apart")
        center, axes = fitted
        found = Condition(encoder, center, axes, pretraining_cost(encoder))
        if distributed.rank() == 0:
            found.save(folder)
    told = found.of(features)  # before it moves: features are on the CPU
    return found.to(device), told


def _fitted(features: Tensor, width: int) -> tuple[Tensor, Tensor] | None:
    """Mean [D] and axes [D, width] of features [N, D], by falling variance, 1 in the mean; None: they do not vary."""
    center = features.double().mean(dim=0)
    centred = features.double() - center
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(features))
    variances, axes = variances.flip(0)[:width], axes.flip(1)[:, :width]
    if not float(variances.mean()) > 1e-12:
        return None
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    axes = axes * largest.sign() / variances.mean().sqrt()
    return center.float(), F.pad(axes, (0, width - axes.shape[1])).float()


def load_condition(source: str | Path, unet: UNet2DModel) -> Condition | None:
    """Load what the model of a folder or hub id is told by; None: it is told nothing.

    Raises:
        UserError: a file is damaged, or does not fit the U-Net or the others.
    """
    if not conditional(unet) or not (place := located(str(source)) / FOLDER).is_dir():
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


def conditional(unet: UNet2DModel) -> bool:
    """Whether a U-Net is told of images."""
    return bool(unet.config.class_embed_type == "identity")


def untold(unet: UNet2DModel, images: int) -> dict[str, Tensor]:
    """What a call of a conditional U-Net needs that is told of no image; nothing for an unconditional one."""
    if not conditional(unet):
        return {}
    return {"class_labels": torch.zeros(images, told_width(unet.config.block_out_channels), device=unet.device)}
