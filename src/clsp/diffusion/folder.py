"""Reading a diffusers folder, made here or elsewhere: what it holds is drawn from rightly or refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.utils import logging as diffusers_logging

from clsp import console, files
from clsp.diffusion.process import forward_process
from clsp.engine.memory import is_too_little_memory
from clsp.errors import UserError

FIX = "give the folder that 'clsp diffusion' wrote, or a hub id such as google/ddpm-cifar10-32"

_READ = (
    "model_index.json",
    "config.json",
    "scheduler_config.json",
    "clsp.json",
    "unet/*.json",
    "scheduler/*.json",
    "*.safetensors",
    "unet/*.safetensors",
    "unet_ema/*.json",
    "unet_ema/*.safetensors",
    "condition/*.json",
    "condition/*.safetensors",
)
"""What is read of a diffusers folder."""


_MOST = {
    "num_train_timesteps": 1_000_000,
    "layers_per_block": 64,
    "block_out_channels": 65_536,
    "in_channels": 4096,
    "out_channels": 4096,
    "sample_size": 65_536,
    "num_class_embeds": 1_000_000,
    "attention_head_dim": 65_536,
    "norm_num_groups": 65_536,
}
"""The largest sizes that are read."""

_WEIGHTS = "diffusion_pytorch_model"
_LATENT = ("vqvae", "vae", "movq", "vqmodel")
"""Parts of a pipeline whose U-Net denoises latents."""
_PLAIN = {
    "_class_name": "DDPMScheduler",
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "prediction_type": "epsilon",
}
"""The defaults of diffusers' train_unconditional.py."""


def load_diffusion(source: str | Path, *, option: str = "--diffusion") -> tuple[UNet2DModel, dict[str, Any]]:
    """Read a U-Net and its forward process from a diffusers folder or hub id, as JSON and safetensors alone.

    Besides pipelines, checkpoints of diffusers' train_unconditional.py are read (``checkpoint-500``), of which the
    averaged U-Net is taken; weights in 16 bit or in several files as well.

    Args:
        source: a folder that a DDPMPipeline was saved to (or a run's ``diffusion`` folder), or a hub id such as
            ``google/ddpm-cifar10-32``, of one revision as ``NAME@REVISION``.
        option: the option that named it, for messages.

    Returns:
        The U-Net in eval mode, float32, and the scheduler's configuration, see `clsp.diffusion.process`.

    Raises:
        UserError: nothing is there, it could not be downloaded, or it is no unconditional model of pixels over betas;
            says which.
    """
    where = str(source)
    try:
        folder = located(where)
        require_readable(folder)
        _require_pixels(folder)
        place = _unet_folder(folder)
        settings = _scheduler(folder, place)
        unet = _unet(place)
        _require_steps(unet, settings)
    except UserError as error:
        raise UserError(f"{option} {where}: {error}") from error
    return unet, settings


def located(source: str) -> Path:
    """Return the folder that a source names, downloaded where it is a hub id.

    Raises:
        UserError: it is neither, or could not be downloaded.
    """
    return Path(source) if Path(source).is_dir() else _downloaded(source)


def require_readable(folder: Path) -> None:
    """Refuse a diffusers folder of which a file is damaged, before others read it.

    Raises:
        UserError: names the file.
    """
    for path in (path for pattern in _READ for path in sorted(folder.glob(pattern))):
        if path.suffix == ".json":
            config = files.read_json(path, dict[str, Any], fix=FIX)
            with files.foreign(path, FIX):
                require_sizes(config)
        else:
            files.read_header(path, fix=FIX)


def require_sizes(config: dict[str, Any]) -> None:
    """Refuse sizes that no model has, before memory and hours are spent on them.

    Raises:
        ValueError: names the size.
    """
    for name, most in _MOST.items():
        value = config.get(name)
        for size in value if isinstance(value, list) else [value]:
            if isinstance(size, int | float) and not 0 <= size <= most:
                raise ValueError(f"its {name} is {size:g}; at most {most:,} is read")


@dataclass
class _Nothing(UserError):
    """There is no model of diffusers at all."""

    reason: str

    def __str__(self) -> str:
        return f"no diffusers folder with an unconditional U-Net in safetensors ({self.reason}); {FIX}"


def _downloaded(name: str) -> Path:
    """The folder of a hub id in the cache, downloaded where it is not there yet: descriptions first, then weights."""
    from huggingface_hub import snapshot_download

    name, _, revision = name.partition("@")
    wanted: list[str] = ["*.json", "*/*.json"]
    try:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=wanted))
        _require_pixels(folder)
        place = _unet_folder(folder)
        inside = "" if place == folder else f"{place.name}/"
        wanted += [f"{inside}*.safetensors", "condition/*.safetensors"]
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=wanted))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        raise _Nothing(_first_line(error)) from error


def _require_pixels(folder: Path) -> None:
    """Refuse a pipeline that is more than an unconditional U-Net over pixels and a scheduler."""
    index = _json(folder / "model_index.json") or {}
    name = index.get("_class_name", "a pipeline")
    parts = {part: what[1] for part, what in index.items() if isinstance(what, list) and len(what) == 2 and what[1]}
    latent = [part for part in _LATENT if part in parts or (folder / part).is_dir()]
    if latent:
        raise UserError(
            f"{name if index else 'this model'} has a {parts.get(latent[0]) or latent[0]}: its U-Net denoises latents, "
            "not pixels; give an unconditional model of pixels (DDPMPipeline)"
        )
    others = [f"{part} ({what})" for part, what in parts.items() if part not in ("unet", "scheduler")]
    if others:
        raise UserError(f"{name} has a {others[0]}; give an unconditional model, a U-Net and a scheduler alone")
    if parts.get("unet", "UNet2DModel") != "UNet2DModel":
        raise UserError(f"{name} has a {parts['unet']}; give an unconditional model, a UNet2DModel")


def _unet_folder(folder: Path) -> Path:
    """The folder of the U-Net: of a training's checkpoint the averaged one, which is better, and is said."""
    if (folder / "model_index.json").is_file() and (folder / "unet" / "config.json").is_file():
        return folder / "unet"
    for name in ("unet_ema", "unet"):
        if (folder / name / "config.json").is_file():
            if name == "unet_ema" and folder.joinpath("unet").is_dir():
                console.say(f"diffusion model: {folder / name} is drawn with, the averaged weights, not unet")
            return folder / name
    if not (folder / "config.json").is_file():
        raise _Nothing("neither unet/config.json nor config.json is there")
    return folder


def _scheduler(folder: Path, place: Path) -> dict[str, Any]:
    """The forward process: from the scheduler's file, or from that of the training whose checkpoint this is."""
    above = []
    if folder.name in ("unet", "unet_ema"):
        above.append(folder.parent)
    if (above or [folder])[-1].name.startswith("checkpoint-"):
        above.append((above or [folder])[-1].parent)
    for base in (folder, *above):
        for path in (base / "scheduler" / "scheduler_config.json", base / "scheduler_config.json"):
            if (settings := _json(path)) is not None:
                if base != folder:
                    console.say(f"diffusion model: its noise schedule is that of {path}")
                with files.foreign(path, FIX):
                    return forward_process(settings)
    raise UserError(
        f"the U-Net is there ({place}), but not the scheduler's file, which says how its images were noised; write "
        f"{folder / 'scheduler' / 'scheduler_config.json'} with what it was trained with, such as {json.dumps(_PLAIN)}"
    )


def _unet(place: Path) -> UNet2DModel:
    """Read the U-Net from its folder."""
    config = _json(place / "config.json") or {}
    if (name := config.get("_class_name", "UNet2DModel")) != "UNet2DModel":
        raise UserError(f"{place / 'config.json'} describes a {name}; give an unconditional model, a UNet2DModel")
    variant = _variant(place)
    _require_weights(place, config)
    options: dict[str, Any] = {"use_safetensors": True, "low_cpu_mem_usage": False, "output_loading_info": True}
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()  # an average's configuration has entries that a U-Net does not know
    try:
        unet, found = UNet2DModel.from_pretrained(str(place), variant=variant, **options)
    except Exception as error:  # whatever a file from elsewhere makes diffusers raise
        if is_too_little_memory(error):
            raise
        raise UserError(
            f"the U-Net in {place} cannot be read ({_first_line(error)}); save or download it again"
        ) from error
    finally:
        diffusers_logging.set_verbosity(verbosity)
    if lacking := found["missing_keys"]:
        raise UserError(
            f"the weights in {place} lack {len(lacking)} of the U-Net's tensors (first: {sorted(lacking)[0]}); "
            "save or download it again"
        )
    return unet.float().eval()


def _require_weights(place: Path, config: dict[str, Any]) -> None:
    """Refuse a description of more weights than the files can hold, before memory is asked for."""
    with files.foreign(place / "config.json", FIX), torch.device("meta"):
        described = sum(weight.numel() for weight in UNet2DModel.from_config(config).parameters())
        held = sum(path.stat().st_size for path in place.glob("*.safetensors"))  # at least a byte each
        if described > held:
            raise ValueError(f"it describes {described:,} weights, and the files hold {held:,} bytes")


def _variant(place: Path) -> str | None:
    """Which of the weights' files is read: None for the plain one, else a variant such as ``fp16``, which is said."""
    if any((place / f"{_WEIGHTS}.safetensors{more}").is_file() for more in ("", ".index.json")):
        return None
    # NAME.fp16.safetensors; in several files NAME.fp16-00001-of-00002.safetensors, NAME.safetensors.index.fp16.json.
    names = [path.name.split(".") for path in place.glob(f"{_WEIGHTS}.*") if ".safetensors" in path.name]
    variants = sorted({name[-2].partition("-")[0] for name in names})
    if len(variants) == 1:
        console.say(f"diffusion model: {place} has the weights {variants[0]} alone; they are computed with in 32 bit")
        return variants[0]
    if variants:
        raise UserError(
            f"{place} has weights of the variants {', '.join(variants)}; name one of them {_WEIGHTS}.safetensors"
        )
    if pickled := sorted((*place.glob("*.bin"), *place.glob("*.pt"), *place.glob("*.ckpt"))):
        raise UserError(
            f"the weights are a pickle ({pickled[0].name}), which can run code and is not read; where you trust it, "
            f"save it as safetensors: UNet2DModel.from_pretrained('{place}').save_pretrained('{place}')"
        )
    raise _Nothing(f"{place} has no {_WEIGHTS}.safetensors")


def _require_steps(unet: UNet2DModel, settings: dict[str, Any]) -> None:
    """Refuse a table of time steps that is shorter than the schedule."""
    known, levels = unet.config.num_train_timesteps, int(settings["num_train_timesteps"])
    if unet.config.time_embedding_type == "learned" and known < levels:
        raise UserError(f"the U-Net has learned {known} time steps, its scheduler has {levels}; mend one of the two")


def _json(path: Path) -> dict[str, Any] | None:
    """Read an object; None where there is no such file."""
    return files.read_json(path, dict[str, Any], fix="save or download it again") if path.is_file() else None


def _first_line(error: BaseException) -> str:
    """The first line of a message; two where the first one only announces the second."""
    lines = str(error).split("\n") if str(error).strip() else [type(error).__name__]
    lines = [" ".join(line.split()) for line in lines if line.strip()]
    return (" ".join(lines[:2]) if lines[0].endswith(":") else lines[0])[:160]
