"""Checkpoints without pickle: tensors in one safetensors file, everything else as JSON in its header."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from clsp import files

_FORMAT, _OLD = "clsp-checkpoint-3", "clsp-checkpoint-2"
"""The older one has no hash of its content."""

ANEW = "delete it to start this stage anew"
"""What to do about a checkpoint that cannot be used."""

_WHAT = "is no checkpoint"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (nested dicts, lists, numbers, strings, tensors) atomically to ``path``."""
    tensors: dict[str, Tensor] = {}
    tree = _encode(state, tensors)
    # One entry: safetensors writes several in any order, and equal states are to be equal bytes.
    header = {_FORMAT: json.dumps({"state": tree, "sha256": _hash(tree, tensors)})}
    files.write_bytes(path, save(tensors, metadata=header))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; no code in the file can run.

    Raises:
        UserError: the file is no checkpoint of clsp, or is damaged: a single bit in it changed.
    """
    tensors, header = files.read_tensors(path, fix=ANEW, what=_WHAT)
    with files.foreign(path, ANEW, what=_WHAT):
        if _OLD in header:
            tree = json.loads(header[_OLD])
        elif _FORMAT in header:
            content = json.loads(header[_FORMAT])
            tree = content["state"]
            if _hash(tree, tensors) != content["sha256"]:
                raise ValueError("it was damaged after it was written")
        else:
            raise ValueError("it is no file of clsp")
        restored = _decode(tree, tensors)
        if not isinstance(restored, dict):
            raise TypeError("it holds no state")
        return restored


def _hash(tree: Any, tensors: dict[str, Tensor]) -> str:
    """The sha256 of all that a checkpoint holds."""
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
