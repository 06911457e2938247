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
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import UNet2DModel
from safetensors.torch import save
from torch import Tensor, nn

from clsp import files
from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.unet import Grid
from clsp.encoders.export import Normalised, load_encoder, read_config, read_spec
from clsp.engine.memory import in_batches
from clsp.engine.record import Record, read_record
from clsp.errors import UserError

if TYPE_CHECKING:
    from clsp.images.imageset import Images

OPTION = "--diffusion.condition"
FOLDER, _AXES = "condition", "axes.safetensors"
_TAKEN = ("config.json", "encoder.safetensors")
"""Of the encoder's folder."""
_AT_ONCE = 500


class Condition(nn.Module):
    """From images to what a U-Net is told of them.

    Args:
        folder: the encoder's.
        center: mean of the train images' features, float [D].
        axes: principal axes, scaled, float [D, W]; W is the width of the U-Net's embedding of the time step.
    """

    center: Tensor
    axes: Tensor

    def __init__(self, folder: Path, center: Tensor, axes: Tensor) -> None:
        super().__init__()
        self.folder = folder
        self.encoder = Normalised(load_encoder(folder), read_spec(folder)).eval().requires_grad_(False)
        self.register_buffer("center", center)
        self.register_buffer("axes", axes)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images, float [B, C, H, W] in [-1, 1], to float32 [B, W]; in 32 bit whatever the rest is computed in."""
        with torch.autocast(images.device.type, enabled=False):
            features: Tensor = self.encoder((images.float() + 1.0) / 2.0)
            return (features - self.center) @ self.axes

    def of(self, images: files.Array) -> Tensor:
        """What is told of uint8 images [N, C, H, W]: float32 [N, W], on the CPU."""
        device = self.center.device

        def told(first: int, last: int) -> Tensor:
            batch = torch.from_numpy(files.take(images, np.arange(first, last))).to(device)
            return self(batch.float() / 127.5 - 1.0).cpu()

        return torch.cat(in_batches(told, len(images), _AT_ONCE))

    def spent(self) -> dict[str, float]:
        """What the encoder's pretraining took: ``seconds`` and ``flops``; nothing where that is not known."""
        record = read_record(self.folder)
        if record is None or "flops" not in record.facts:
            return {}
        return {"seconds": record.seconds, "flops": record.number("flops")}

    def save(self, folder: Path) -> None:
        """Write the encoder and the axes into ``folder / "condition"``, so that the model's folder is enough."""
        place = folder / FOLDER
        files.make_folder(place)
        for name in _TAKEN:
            files.write_bytes(place / name, (self.folder / name).read_bytes())
        tensors = {"center": self.center.cpu().contiguous(), "axes": self.axes.cpu().contiguous()}
        files.write_bytes(place / _AXES, save(tensors))


def find_encoder(config: DiffusionConfig, images: Images) -> Path | None:
    """Return the folder of the encoder by which the model is to be told; None: it is told nothing.

    Raises:
        UserError: no encoder is there, or it is for other images.
    """
    if config.condition is None:
        return None
    folder = Path(config.condition)
    if (folder / "encoder" / "config.json").is_file():  # a run stands for its encoder
        folder = folder / "encoder"
    if not (folder / "config.json").is_file():
        raise UserError(f"{OPTION} {folder}: no encoder there; give a run, or a folder that 'clsp pretrain' wrote")
    spec = read_spec(folder)
    if (spec.channels, spec.size) != (images.channels, images.size):
        raise UserError(
            f"{OPTION} {folder} takes {spec.channels}-channel images of {spec.size} pixels, the data have "
            f"{images.channels} and {images.size}; add --images.channels {spec.channels} --images.size {spec.size}"
        )
    return folder


def digest_of(encoder: Path) -> str:
    """Return a sha256 (16 hex digits) over the files of the encoder in a folder."""
    return hashlib.sha256(b"".join((encoder / name).read_bytes() for name in _TAKEN)).hexdigest()[:16]


def fit_condition(encoder: Path, images: files.Array, *, width: int, device: torch.device | str = "cpu") -> Condition:
    """Find the axes for a U-Net.

    Args:
        encoder: the encoder's folder.
        images: those that the U-Net learns, uint8 [N, C, H, W].
        width: of the U-Net's embedding of the time step.
        device: where the encoder works.

    Raises:
        UserError: the encoder is damaged, or gives all images the same features.
    """
    count = read_config(encoder).num_features
    features = Condition(encoder, torch.zeros(count), torch.eye(count)).to(device).of(images).double()
    center = features.mean(dim=0)
    axes = _principal_axes(features - center, width)
    if axes is None:
        raise UserError(f"{OPTION} {encoder} gives all images the same features; give an encoder that tells them apart")
    return Condition(encoder, center.float(), axes.float()).to(device)


def _principal_axes(features: Tensor, width: int) -> Tensor | None:
    """Axes [D, width] of centred features [N, D], by falling variance, which is 1 in the mean; None: there is none."""
    variances, axes = torch.linalg.eigh(features.T @ features / len(features))
    variances, axes = variances.flip(0)[:width], axes.flip(1)[:, :width]
    if not float(variances.mean()) > 1e-12:
        return None
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    axes = axes * largest.sign() / variances.mean().sqrt()
    return nn.functional.pad(axes, (0, width - axes.shape[1]))


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


def load_condition(folder: Path, unet: UNet2DModel) -> Condition | None:
    """Load what the model in ``folder`` is told by; None: it is told nothing.

    Raises:
        UserError: a file is damaged, or does not fit the U-Net or the others.
    """
    place = folder / FOLDER
    if unet.config.class_embed_type != "identity" or not place.is_dir():
        return None
    path = place / _AXES
    tensors, _ = files.read_tensors(path)
    with files.foreign(path, what="does not fit its encoder or U-Net"):
        center, axes = tensors["center"].float(), tensors["axes"].float()
        count, width = read_config(place).num_features, told_width(unet.config.block_out_channels)
        if (center.shape, axes.shape) != ((count,), (count, width)):
            raise ValueError(f"axes of {list(axes.shape)} for {count} features and {width} values that are told")
        Grid.of(unet, read_spec(place).channels)
    return Condition(place, center, axes)
