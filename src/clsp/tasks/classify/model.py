"""A classifier as files: its encoder as any other, and beside it the head and the names of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from clsp import files
from clsp.encoders.export import EncoderSpec, load_encoder, read_config, read_spec, save_encoder, snippet
from clsp.encoders.features import encode_images
from clsp.errors import UserError
from clsp.tasks.classify.training import Classifier

HEAD = "head.safetensors"
"""The head's ``weight`` [C, D] and ``bias`` [C]."""
_FIX = "give --classifier the folder that 'clsp classify' wrote, or make it again"


def save_classifier(
    folder: Path, classifier: Classifier, spec: EncoderSpec, classes: tuple[str, ...], made_from: dict[str, Any]
) -> None:
    """Write encoder, head and classes, and a script that classifies with them without clsp."""
    save_encoder(folder, classifier.encoder, spec, {**made_from, "classes": list(classes)})
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.head.state_dict().items()}
    files.write_bytes(folder / HEAD, save(state, metadata={"format": "pt"}))
    more = (
        f'\nhead = load_file(Path(__file__).with_name("{HEAD}"))\n'
        f"classes = {list(classes)!r}\n"
        'probabilities = (features @ head["weight"].T + head["bias"]).softmax(dim=1)\n'
        "print([classes[i] for i in probabilities.argmax(dim=1)])\n"
    )
    files.write_text(folder / "snippet.py", snippet(spec) + more)


@dataclass(frozen=True)
class Saved:
    """A classifier that was read."""

    model: nn.Module
    """Normalised images float [B, C, H, W] to logits [B, classes], in eval mode."""
    spec: EncoderSpec
    classes: tuple[str, ...]

    def probabilities(self, images: files.Array, *, device: torch.device | str) -> np.ndarray:
        """Classify uint8 [N, C, H, W]: float32 [N, classes]."""
        mean, std = torch.tensor(self.spec.mean), torch.tensor(self.spec.std)
        model = self.model.to(device)
        return encode_images(model, images, mean, std).softmax(dim=1).numpy()


def load_classifier(folder: Path) -> Saved:
    """Read what ``clsp classify`` wrote.

    Raises:
        UserError: it is no classifier, or damaged.
    """
    if not (folder / HEAD).is_file():
        raise UserError(f"--classifier {folder}: no {HEAD} there; give a folder that 'clsp classify' wrote")
    with files.foreign(folder / "config.json", _FIX, what="is not a classifier's"):
        config = read_config(folder)
        classes = tuple(str(name) for name in config.clsp["classes"])  # type: ignore[typeddict-item]
    encoder, tensors = load_encoder(folder), files.read_tensors(folder / HEAD, fix=_FIX)[0]
    with files.foreign(folder / HEAD, _FIX):
        weight, bias = tensors["weight"], tensors["bias"]
        if weight.ndim != 2 or bias.shape != (len(classes),) or len(weight) != len(classes):
            raise ValueError(f"its head is of {tuple(weight.shape)} values, not of {len(classes)} classes")
        if weight.shape[1] != config.num_features:
            raise ValueError(f"its head takes {weight.shape[1]} features, not the encoder's {config.num_features}")
        head = nn.Linear(weight.shape[1], len(classes))
        head.load_state_dict({"weight": weight, "bias": bias})
    return Saved(nn.Sequential(encoder, head).eval(), read_spec(folder), classes)
