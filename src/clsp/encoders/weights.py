"""Weights to start from: timm's, an encoder's of clsp, or a file's. They are copied, and never needed again."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clsp import files
from clsp.errors import UserError, suggest

TIMM = "timm"
"""The weights that timm offers for a backbone; ``timm:TAG`` are those of a tag of its."""
_OPTION = "--pretrain.weights"
_LEAST = 0.5
"""Fraction of a backbone's values that must be found, else they are another network's."""


def find_weights(text: str, name: str, option: str = _OPTION) -> Path:
    """Return the safetensors file that ``text`` stands for; timm's are fetched from the hub, by its own list.

    Args:
        text: ``timm``, ``timm:TAG``, the folder of an encoder or a run, or a .safetensors file.
        name: the backbone, as timm calls it.
        option: what the user named them by, for messages.

    Raises:
        UserError: there is no such file, it is a pickle, or the hub cannot be reached.
    """
    kind, _, tag = text.partition(":")
    path = Path(text)
    if kind == TIMM and not path.exists():
        return _fetched(name, tag, option)
    if path.is_dir():
        for place in (path / "encoder.safetensors", path / "encoder" / "encoder.safetensors"):
            if place.is_file():
                _require_same_backbone(place.parent, name)
                return place
        raise UserError(f"{option} {text}: no encoder.safetensors there; give the folder of an encoder or a run")
    if path.suffix != ".safetensors":
        raise UserError(
            f"{option} {text}: weights are read from .safetensors alone, for a pickle (.pth, .pt, .bin) can run code; "
            "choose timm, a folder that clsp wrote, or a .safetensors file (safetensors.torch.save_file writes one)"
        )
    if not path.is_file():
        raise UserError(f"{option} {text}: there is no such file")
    return path


def _require_same_backbone(folder: Path, name: str) -> None:
    config = folder / "config.json"
    there = files.read_json(config, dict[str, Any]).get("architecture") if config.is_file() else name
    if there != name:
        raise UserError(f"{_OPTION} {folder} holds a {there}; choose --pretrain.backbone.name {there}, not {name}")


def _fetched(name: str, tag: str, option: str) -> Path:
    """Fetch what timm lists for a backbone, as safetensors: nothing else is downloaded, and nothing is unpickled."""
    import timm
    from huggingface_hub import hf_hub_download

    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise UserError(f"{option} timm:{tag} is not one of {', '.join(tags) or 'none'}{suggest(tag, tags)}")
    known = timm.get_pretrained_cfg(f"{name}.{tag}" if tag else name)
    if not tags or known is None or not known.hf_hub_id:
        raise UserError(f"{option} timm: timm offers no weights for {name}; give a .safetensors file or a folder")
    try:
        name, _, revision = known.hf_hub_id.partition("@")
        return Path(hf_hub_download(name, "model.safetensors", revision=revision or None))
    except Exception as error:  # of the network, of the hub, of its cache
        raise UserError(
            f"{option} timm: model.safetensors of {known.hf_hub_id} cannot be had from the hub "
            f"({type(error).__name__}); connect to the network once, or give a .safetensors file"
        ) from error


@dataclass
class Taken:
    """What was copied into a network."""

    tensors: int
    """Tensors that were copied."""
    total: int
    """Tensors that the network has."""
    kept: list[str] = field(default_factory=list)
    """Tensors that keep their first values: there are none of that name and shape."""
    unused: list[str] = field(default_factory=list)
    """Tensors that the network has no place for."""
    adapted: list[str] = field(default_factory=list)
    """Tensors that were changed to fit: the first convolution for other channels, position embeddings."""

    def __str__(self) -> str:
        parts = [f"{self.tensors} of {self.total} tensors"]
        parts += [f"adapted {_some(self.adapted)}"] if self.adapted else []
        parts += [f"as they began {_some(self.kept)}"] if self.kept else []
        parts += [f"not used {_some(self.unused)}"] if self.unused else []
        return "; ".join(parts)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        UserError: it is damaged, or holds values that are not finite.
    """
    state, _ = files.read_tensors(path, fix="give other weights", what="is no safetensors file that can be read")
    bad = next((name for name, t in state.items() if t.is_floating_point() and not bool(t.isfinite().all())), None)
    if bad:
        raise UserError(f"{_OPTION} {path}: {bad} holds values that are not finite; give other weights")
    return state


def take_weights(model: nn.Module, state: dict[str, Tensor], name: str, channels: int) -> Taken:
    """Copy into a backbone what fits of ``state``, brought to its shapes as timm does.

    Args:
        model: the backbone, on the CPU; changed in place.
        state: tensors by their names.
        name: the backbone, as timm calls it.
        channels: of its images.

    Raises:
        UserError: ``state`` is another network's.
    """
    wanted = model.state_dict()
    given = dict(state)
    if any((key in given and given[key].shape != value.shape) or key not in given for key, value in wanted.items()):
        given = _converted(model, given, name, channels)
    fits = {key: value for key, value in given.items() if key in wanted and value.shape == wanted[key].shape}
    values, every = (sum(wanted[key].numel() for key in keys) for keys in (fits, wanted))
    if values < _LEAST * every:
        raise UserError(
            f"{_OPTION}: they fit {values / max(every, 1):.0%} of {name} as it is here; choose the "
            "--pretrain.backbone.name and --pretrain.backbone.args that they were trained with"
        )
    model.load_state_dict(fits, strict=False)
    adapted = [key for key in fits if key in state and state[key].shape != fits[key].shape]
    kept = [key for key in wanted if key not in fits]
    unused = [key for key in given if key not in wanted]
    return Taken(len(fits), len(wanted), kept, unused, adapted)


def _converted(model: nn.Module, state: dict[str, Tensor], name: str, channels: int) -> dict[str, Tensor]:
    """Bring weights of timm to the shapes of ``model``: older names, position embeddings, the first convolution."""
    import timm
    from timm.models import adapt_input_conv

    convert: Any = getattr(sys.modules.get(type(model).__module__), "checkpoint_filter_fn", None)
    if convert is not None:
        with suppress(Exception):  # it expects other weights than these: what fits is taken as it is
            state = {key: value for key, value in convert(dict(state), model).items() if isinstance(value, Tensor)}
    wanted, known = model.state_dict(), timm.get_pretrained_cfg(name)
    first = getattr(known, "first_conv", None) or ()
    for key in (f"{part}.weight" for part in ([first] if isinstance(first, str) else first)):
        old, new = state.get(key), wanted.get(key)
        if old is not None and new is not None and old.ndim == 4 and old.shape[1] != channels == new.shape[1]:
            try:
                state = {**state, key: adapt_input_conv(channels, old)}
            except NotImplementedError:  # of weights whose channels were no colours
                continue
    return state


def resume_weights(model: nn.Module, state: dict[str, Any]) -> Taken:
    """Copy into ``model`` what fits of the state of a whole training, by names and shapes."""
    wanted = model.state_dict()
    fits = {
        key: value
        for key, value in state.items()
        if key in wanted and isinstance(value, torch.Tensor) and value.shape == wanted[key].shape
    }
    model.load_state_dict(fits, strict=False)
    kept = [key for key in wanted if key not in fits]
    return Taken(len(fits), len(wanted), kept, [key for key in state if key not in wanted])
