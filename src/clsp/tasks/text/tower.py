"""The two encoders and what they share: embeddings of images and of captions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from clsp.encoders.heads import feature_count
from clsp.tasks.text.config import TowerConfig
from clsp.tasks.text.pretrained import PretrainedTower

_FIRST, _MOST = 1 / 0.07, 100.0
"""CLIP's first scale, and the largest."""


class Tower(nn.Module):
    """A transformer over tokens; a caption's features are those at its end."""

    def __init__(self, vocabulary: int, config: TowerConfig) -> None:
        super().__init__()
        self.width = config.width
        self.token = nn.Embedding(vocabulary, config.width, padding_idx=0)
        self.place = nn.Parameter(0.01 * torch.randn(config.length, config.width))
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, 4 * config.width, dropout=0.0, batch_first=True, norm_first=True,
            activation="gelu",
        )  # fmt: skip
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.token.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode tokens int64 [N, L], 0 for padding: float [N, width]."""
        there = tokens != 0
        hidden = self.layers(self.token(tokens) + self.place[: tokens.shape[1]], src_key_padding_mask=~there)
        last = there.sum(dim=1).clamp(min=1) - 1
        features: Tensor = self.norm(hidden[torch.arange(len(tokens), device=tokens.device), last])
        return features


class Pairing(nn.Module):
    """An image encoder and a tower, each with a projection to the embeddings that they share."""

    def __init__(self, encoder: nn.Module, tower: Tower | PretrainedTower, dim: int) -> None:
        super().__init__()
        self.encoder, self.tower = encoder, tower
        self.image = nn.Linear(feature_count(encoder), dim, bias=False)
        self.text = nn.Linear(tower.width, dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_FIRST)))

    @property
    def scale(self) -> Tensor:
        """1 / tau, at most CLIP's 100."""
        return self.log_scale.exp().clamp(max=_MOST)

    def images(self, images: Tensor) -> Tensor:
        """Embed normalised images [B, C, H, W]: float [B, dim]."""
        found: Tensor = self.image(self.encoder(images))
        return found

    def texts(self, tokens: Tensor) -> Tensor:
        """Embed tokens int64 [N, L]: float [N, dim]."""
        found: Tensor = self.text(self.tower(tokens))
        return found
