"""Checkpoints without pickle: tensors in one safetensors file, everything else as JSON in its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clsp import files
from clsp.errors import UserError

_FORMAT = "clsp-checkpoint-2"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (nested dicts, lists, numbers, strings, tensors) atomically to ``path``."""
    tensors: dict[str, Tensor] = {}
    tree = _encode(state, tensors)
    # One entry: safetensors writes several in any order, and equal states are to be equal bytes.
    files.write_bytes(path, save(tensors, metadata={_FORMAT: json.dumps(tree)}))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; no code in the file can run.

    Raises:
        UserError: the file is no checkpoint of clsp, or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _FORMAT not in header:
            raise UserError(f"{path} is no checkpoint of clsp; delete it to start this stage anew")
        restored: dict[str, Any] = _decode(json.loads(header[_FORMAT]), tensors)
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is no checkpoint ({error}); delete it to start this stage anew") from error
    return restored


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Turn ``value`` into JSON, moving its tensors to ``tensors`` under running numbers."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_encode(key, tensors), _encode(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_encode(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_encode(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds plain values and tensors, not {type(value).__name__}")


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        if "tuple" in value:
            return tuple(_decode(item, tensors) for item in value["tuple"])
        return {_decode(key, tensors): _decode(item, tensors) for key, item in value["dict"]}
    return value
