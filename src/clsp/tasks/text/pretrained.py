"""A text encoder that others have trained, by Hugging Face's transformers, in the place of the small one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clsp import files
from clsp.errors import UserError
from clsp.tasks.text import words

CONFIG = "text_config.json"
"""Of the model, as transformers writes it, beside what ``clsp text`` writes."""
_OPTION = "--text.tower.pretrained"
_KIND = "give a text encoder of transformers with safetensors and a tokenizer.json, such as a BERT or a MiniLM"
_NONE = "is no text encoder"
_SOURCES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "model.safetensors")


class PretrainedTower(nn.Module):
    """A text encoder of transformers; a caption's features are the mean over its tokens.

    It is always in eval mode: dropout would draw numbers that no seed names.

    Args:
        model: takes ``input_ids`` and ``attention_mask``, and gives ``last_hidden_state``.
        frozen: whether it stays as it is.
    """

    def __init__(self, model: Any, *, frozen: bool) -> None:
        super().__init__()
        self.model = model.requires_grad_(not frozen).eval()
        self.width = int(model.config.hidden_size)

    def train(self, mode: bool = True) -> PretrainedTower:
        """Leave the model in eval mode."""
        super().train(mode)
        self.model.eval()
        return self

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode tokens int64 [N, L], 0 for padding and else one more than the model's own: float [N, width]."""
        there = (tokens != 0).long()
        hidden = self.model(input_ids=(tokens - 1).clamp(min=0), attention_mask=there).last_hidden_state
        features: Tensor = (hidden * there[..., None]).sum(dim=1) / there.sum(dim=1, keepdim=True).clamp(min=1)
        return features


@dataclass(frozen=True)
class Found:
    """A pretrained text encoder on the disk."""

    folder: Path

    @property
    def digest(self) -> str:
        """A hash of the files that decide what it says (16 hex digits)."""
        there = [name for name in _SOURCES if (self.folder / name).is_file()]
        return files.fingerprint([[name, files.file_hash(self.folder / name)] for name in there])

    def model(self) -> Any:
        """Read the model.

        Raises:
            UserError: it is none, or no text encoder.
        """
        config, weights = self.folder / "config.json", self.folder / "model.safetensors"
        described = files.read_json(config, dict[str, Any], fix=_KIND)
        state, _ = files.read_tensors(weights, fix=_KIND, what=_NONE)
        with files.foreign(weights, _KIND, what=_NONE):
            model = built(described)
            prefix = f"{model.base_model_prefix}."
            # What was saved with a head has the encoder below its name.
            own = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
            missing, _ = model.load_state_dict(own, strict=False)
            if missing:
                raise ValueError(f"it lacks {missing[0]} and {len(missing) - 1} more")
            return tried(model)

    def tokenizer(self, length: int) -> Any:
        """Read its tokenizer; captions end after ``length`` tokens."""
        return words.borrowed(self.folder, length, fix=_KIND)


def find(name: str) -> Found:
    """Find a pretrained text encoder: a folder, or a model of the hub, which is fetched.

    Raises:
        UserError: it is neither, or the hub cannot be reached.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _fetched(name)
    for needed in ("config.json", "tokenizer.json", "model.safetensors"):
        if not (folder / needed).is_file():
            raise UserError(f"{_OPTION} {name}: no {needed} there; {_KIND}")
    return Found(folder)


def built(config: dict[str, Any]) -> Any:
    """Make a model without its weights, of what its config.json says.

    Raises:
        UserError: transformers is not installed.
        ValueError: it is no text encoder that transformers knows.
    """
    library = _library()
    values = {name: value for name, value in config.items() if name != "model_type"}
    made = library.AutoModel.from_config(library.AutoConfig.for_model(str(config["model_type"]), **values))
    if getattr(made.config, "is_encoder_decoder", False) or not hasattr(made.config, "hidden_size"):
        raise ValueError(f"{config['model_type']} is no text encoder by itself")
    if getattr(made, "pooler", None) is not None:
        made.pooler = None  # nothing asks it
    return made


def tried(model: Any) -> Any:
    """Encode one token, as some versions of transformers make models whose numbers do not go together; return it.

    Raises:
        Exception: it cannot; each model says so in its own way.
    """
    one = torch.ones(1, 1, dtype=torch.int64)
    with torch.no_grad():
        model.eval()(input_ids=0 * one, attention_mask=one)
    return model


def described(model: Any) -> str:
    """What `built` needs to make it again, as JSON."""
    return json.dumps(model.config.to_diff_dict(), indent=2, sort_keys=True, default=str) + "\n"


def _fetched(name: str) -> Path:
    """Fetch a model's files from the hub: NAME, or NAME@REVISION."""
    import huggingface_hub

    model, _, revision = name.partition("@")
    try:
        found = huggingface_hub.snapshot_download(model, revision=revision or "main", allow_patterns=list(_SOURCES))
        return Path(found)
    except Exception as error:  # names that are none, no network, no such model: all are the user's to mend
        raise UserError(
            f"{_OPTION} {name}: neither a folder nor to be had from the hub ({files.reason(error)}); {_KIND}"
        ) from error


def _library() -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise UserError(f"{_OPTION} needs a package: pip install 'clsp[transformers]'") from error
    return transformers
