"""What a bank costs: the FLOPs of its sampling, and those of the diffusion model's training where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel

from clsp import files
from clsp.diffusion.condition import conditional, conditioned, untold
from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.folder import require_sizes
from clsp.diffusion.interpolation import encode, steps_taken
from clsp.diffusion.start import before
from clsp.diffusion.unet import Grid
from clsp.engine.flops import count_flops
from clsp.engine.record import read_record
from clsp.positives.config import SynthesizeConfig
from clsp.settings.values import build


def sampling_flops(
    unet: UNet2DModel, config: SynthesizeConfig, anchors: int, image: Sequence[int] | None = None
) -> float:
    """Count the FLOPs of drawing a bank.

    Each step is one pass for every candidate, with guidance its second half again (of a conditional model a second
    pass, which is told nothing), and half of one for every anchor whose features are mixed in (for every candidate,
    where each has the anchor noised for itself).

    Args:
        unet: the model.
        config: how it draws.
        anchors: how many get candidates.
        image: (C, H, W) of the anchors; None: such as the model was made for.
    """
    x = _blank(unet) if image is None else Grid.of(unet, image[0]).enter(torch.zeros(1, *image, device=unet.device))
    with torch.no_grad():
        full = count_flops(lambda: unet(x, 0, return_dict=False, **untold(unet, 1)))
        half = count_flops(lambda: encode(unet, x, 0))
    told, mixed = conditional(unet), config.interpolation_weight < 1.0
    each, shared = full, half if mixed else 0.0
    if config.guidance_scale > 1.0 and (told or mixed):
        each += full if told else full - half
    encoded = config.candidates if config.anchor_noise == "each" else 1
    return anchors * steps_taken(config.steps, config.strength) * (config.candidates * each + encoded * shared)


def training_cost(diffusion: str | Path) -> dict[str, float] | None:
    """Read what the training in the folder ``diffusion`` took: seconds and FLOPs; None for a model made elsewhere.

    The trainings that it started from count, as far as they are known, and that of the encoder that conditions it.
    """
    record = read_record(Path(diffusion))
    if record is None:
        return None
    known = {entry.name for entry in fields(DiffusionConfig)}
    with files.foreign(record.path):
        config = build(DiffusionConfig, {name: value for name, value in record.settings.items() if name in known})
        earlier, encoder = before(record), conditioned(record)
    path = Path(diffusion) / "unet" / "config.json"
    shape = files.read_json(path, dict[str, Any])
    with files.foreign(path), torch.device("meta"):  # shapes alone tell the FLOPs
        require_sizes(shape)
        unet = UNet2DModel.from_config(shape)
        x = _blank(unet)
        step = count_flops(lambda: unet(x, 0, return_dict=False, **untold(unet, 1))[0].sum().backward())
        steps = record.number("steps") if "steps" in record.facts else config.steps
    images = steps * config.batch_size + earlier["images"]
    seconds = record.seconds + earlier["seconds"] + encoder["seconds"]
    return {"seconds": seconds, "flops": step * images + encoder["flops"]}


def _blank(unet: UNet2DModel) -> torch.Tensor:
    size = unet.config.sample_size or 2 ** (len(unet.config.block_out_channels) - 1)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return torch.zeros(1, unet.config.in_channels, height, width, device=unet.device)
