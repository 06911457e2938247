"""What the training of a diffusion model starts from: random weights, or those of a model that was trained before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel

from clsp import console, distributed, files
from clsp.diffusion.condition import Condition, load_condition
from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.folder import load_diffusion
from clsp.diffusion.process import forward_process
from clsp.diffusion.unet import build_scheduler, unet_hash
from clsp.engine.record import Record, read_record
from clsp.errors import UserError

OPTION = "--diffusion.weights"

_SAID = {
    "block_out_channels": "widths",
    "layers_per_block": "blocks",
    "norm_num_groups": "norm_groups",
    "attention_head_dim": "head_width",
    "class_embed_type": "condition",
}
"""diffusers' words for what settings say in others."""
_FREE = {"dropout"}
"""What two U-Nets need not share, so that one can go on with the other's weights as the same function."""


@dataclass(frozen=True)
class Start:
    """A trained diffusion model."""

    said: str
    """Its folder, as the user named it."""
    unet: UNet2DModel
    """Its averaged U-Net."""
    process: dict[str, Any]
    """Its forward process, see `clsp.diffusion.process.forward_process`."""
    condition: Condition | None
    """What it was told of images; None: nothing."""
    spent: dict[str, float]
    """What its training took: ``seconds``, and ``images`` that its steps saw; nothing of a model made elsewhere."""

    @property
    def digest(self) -> str:
        """What it holds: the U-Net's hash."""
        return unet_hash(self.unet)

    def begin(self, unet: UNet2DModel, config: DiffusionConfig) -> None:
        """Copy the weights into ``unet``, and say so.

        Raises:
            UserError: the two have other shapes, or were made for other noise.
        """
        self._require_same(unet, config)
        unet.load_state_dict(self.unet.state_dict())
        if distributed.rank() == 0:
            console.say(f"diffusion model: starts from the weights of {self.said}")

    def _require_same(self, unet: UNet2DModel, config: DiffusionConfig) -> None:
        ours, theirs = unet.config, self.unet.config
        shared = [name for name in ours if not name.startswith("_") and name not in _FREE]
        shared.sort(key=lambda name: name not in _SAID)  # what an option can mend comes first
        unlike = [
            f"{_SAID.get(name, name)} {_plain(theirs.get(name))} there, {_plain(ours[name])} here"
            for name in shared
            if _plain(theirs.get(name)) != _plain(ours[name])
        ]
        asked = forward_process({**build_scheduler(config).config, "_class_name": "DDPMScheduler"})
        unlike += [
            f"{name} {_short(self.process[name])} there, {_short(asked[name])} here"
            for name in asked
            if self.process[name] != asked[name]
        ]
        if unlike:
            raise UserError(
                f"{OPTION} {self.said} holds another kind of model ({'; '.join(unlike[:4])}); give the same "
                "--images and --diffusion options that it was made with, or leave the weights out"
            )


def find_start(config: DiffusionConfig) -> Start | None:
    """Return what ``config`` starts from; None: random weights.

    Raises:
        UserError: what it names is not there, or is no diffusion model.
    """
    if config.weights is None:
        return None
    folder = Path(config.weights)
    inner = folder / "diffusion"
    place = inner if (inner / "model_index.json").is_file() else folder  # a run stands for its model
    with torch.random.fork_rng(devices=[]):
        unet, process = load_diffusion(place, option=OPTION)
        condition = load_condition(place, unet)
    return Start(config.weights, unet, process, condition, _spent(place))


def finished_weights(config: DiffusionConfig, folder: Path) -> str | None:
    """The digest of the weights that the finished model in ``folder`` started from, where these are gone; else None.

    Raises:
        UserError: the model's record is damaged.
    """
    record = read_record(folder)
    if config.weights is None or Path(config.weights).exists() or record is None or not record.finished:
        return None
    known = record.settings.get("weights")
    return None if known is None else str(known)


def before(record: Record) -> dict[str, float]:
    """What the trainings took that the model of ``record`` started from: ``seconds``, and ``images`` that they saw.

    Raises:
        TypeError, ValueError: the record was written by hand.
    """
    known = record.facts.get("before", {})
    return {what: float(known.get(what, 0.0)) for what in ("seconds", "images")}


def _spent(folder: Path) -> dict[str, float]:
    record = read_record(folder)
    if record is None or not {"steps", "batch_size"} <= record.settings.keys():
        return {}
    with files.foreign(record.path):
        steps = int(record.facts.get("steps", record.settings["steps"]))
        earlier, seen = before(record), steps * int(record.settings["batch_size"])
        return {"seconds": record.seconds + earlier["seconds"], "images": seen + earlier["images"]}


def _short(value: Any) -> Any:
    return f"of {len(value)} numbers" if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
