"""Both encoders as files: the image encoder as any other, beside it the tower, the projections and the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from clsp import files
from clsp.encoders.export import EncoderSpec, load_encoder, read_config, read_spec, save_encoder
from clsp.encoders.features import encode_images
from clsp.errors import UserError
from clsp.settings.values import build, plain
from clsp.tasks.text import pretrained, words
from clsp.tasks.text.captions import sentences
from clsp.tasks.text.config import TowerConfig
from clsp.tasks.text.pretrained import PretrainedTower
from clsp.tasks.text.tower import Pairing, Tower

TOWER = "text.safetensors"
"""The tower, both projections and the scale."""
_FIX = "give --model the folder that 'clsp text' wrote, or make it again"
_AT_ONCE = 256
"""Captions that are embedded at once."""


@dataclass(frozen=True)
class Saved:
    """An image and a text encoder."""

    pairing: Pairing
    tokenizer: Any
    spec: EncoderSpec
    length: int
    """Tokens of a caption."""

    @torch.no_grad()
    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        """Unit embeddings of captions, float32 [N, dim], on the CPU."""
        device = self.pairing.log_scale.device
        parts = [
            self.pairing.texts(words.tokens(self.tokenizer, captions[first : first + _AT_ONCE], self.length).to(device))
            for first in range(0, len(captions), _AT_ONCE)
        ]
        return F.normalize(torch.cat(parts).float(), dim=1).cpu()

    def embed_images(self, images: files.Array) -> Tensor:
        """Unit embeddings of uint8 images [N, C, H, W], float32 [N, dim], on the CPU."""
        mean, std = torch.tensor(self.spec.mean), torch.tensor(self.spec.std)
        both = nn.Sequential(self.pairing.encoder, self.pairing.image)
        return F.normalize(encode_images(both, images, mean, std), dim=1)

    def embed_classes(self, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Unit embeddings of classes, each the mean over its sentences: float32 [C, dim]."""
        found = [self.embed_texts(some).mean(dim=0) for some in sentences(names, templates)]
        return F.normalize(torch.stack(found), dim=1)


def save_pairing(
    folder: Path, saved: Saved, config: TowerConfig, templates: Sequence[str], made: dict[str, Any]
) -> None:
    """Write both encoders."""
    about = {**made, "tower": plain(config), "dim": saved.pairing.image.out_features, "templates": list(templates)}
    save_encoder(folder, saved.pairing.encoder, saved.spec, about)
    state = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in saved.pairing.state_dict().items()
        if not name.startswith("encoder.")
    }
    if isinstance(saved.pairing.tower, PretrainedTower):
        files.write_text(folder / pretrained.CONFIG, pretrained.described(saved.pairing.tower.model))
    files.write_bytes(folder / TOWER, save(state, metadata={"format": "pt"}))
    words.save(saved.tokenizer, folder)


def load_pairing(folder: Path) -> tuple[Saved, list[str]]:
    """Read what ``clsp text`` wrote: the encoders, and the templates of class names.

    Raises:
        UserError: it is not there, or damaged.
    """
    if not (folder / TOWER).is_file():
        raise UserError(f"--model {folder}: no {TOWER} there; give a folder that 'clsp text' wrote")
    encoder = load_encoder(folder)
    with files.foreign(folder / "config.json", _FIX, what="is no image and text encoder's"):
        ours: Any = read_config(folder).clsp
        config, templates = build(TowerConfig, dict(ours["tower"])), [str(text) for text in ours["templates"]]
        dim = int(ours["dim"])
    tensors, _ = files.read_tensors(folder / TOWER, fix=_FIX)
    borrowed = config.pretrained is not None
    tokenizer = words.borrowed(folder, config.length) if borrowed else words.read(folder)
    with files.foreign(folder / TOWER, _FIX):
        if tensors["image.weight"].shape[0] != dim:
            raise ValueError("its embeddings have another width")
        tower = _pretrained(folder, tensors) if borrowed else _small(tensors, config, tokenizer)
        pairing = Pairing(encoder, tower, dim)
        missing, unexpected = pairing.load_state_dict(tensors, strict=False)
        if unexpected or any(not name.startswith("encoder.") for name in missing):
            raise ValueError("tensors are missing")
    return Saved(pairing.eval(), tokenizer, read_spec(folder), config.length), templates


def _small(tensors: Mapping[str, Tensor], config: TowerConfig, tokenizer: Any) -> Tower:
    """Build clsp's own tower, once the tensors are known to be its: a false number must not fill the memory."""
    layers = {name.split(".")[3] for name in tensors if name.startswith("tower.layers.layers.")}
    if len(layers) != config.layers or list(tensors["tower.place"].shape) != [config.length, config.width]:
        raise ValueError("its tower is not the one that config.json describes")
    if config.width % config.heads:
        raise ValueError("its embeddings have another width")
    if tokenizer.get_vocab_size() > len(tensors["tower.token.weight"]):
        raise ValueError("its tokenizer knows more tokens")
    return Tower(len(tensors["tower.token.weight"]), config)


def _pretrained(folder: Path, tensors: Mapping[str, Tensor]) -> PretrainedTower:
    """Build the tower that `pretrained.CONFIG` describes, likewise."""
    config = files.read_json(folder / pretrained.CONFIG, dict[str, Any], fix=_FIX)
    shapes = {name.removeprefix("tower.model."): t.shape for name, t in tensors.items() if name.startswith("tower.")}
    if int(config.get("num_hidden_layers", config.get("n_layers", 1))) > len(shapes):
        raise ValueError("its tower is not the one that text_config.json describes")
    with torch.device("meta"):
        described = pretrained.built(config)
    if {name: tensor.shape for name, tensor in described.state_dict().items()} != shapes:
        raise ValueError("its tower is not the one that text_config.json describes")
    return PretrainedTower(pretrained.tried(pretrained.built(config)), frozen=True)
