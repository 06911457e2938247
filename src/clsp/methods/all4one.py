"""All4One: neighbours, their centroid, and the features agree. Estepa et al., arXiv 2303.09417, as the code has it.

z = g(f(x)), p = h(z), p' = h'(z), z' = n(g'(f'(x))) without gradient; NN_v = the k nearest rows of the memory to z'_v.
With T a transformer, PE its position code and [0] its first output token:
  c_v = T(PE(NN_v))[0],  s_v = T(PE([p'_v, NN_v without the last]))[0]
  L_centroid = 1/2 nce(c_1, s_2; 0.1) + 1/2 nce(c_2, s_1; 0.1)
  L_neighbour = 1/2 nce(NN_1[0], p_2; tau) + 1/2 nce(NN_2[0], p_1; tau)
  L = 1/2 L_centroid + 1/2 L_neighbour + 1/2 L_feature.
The memory takes z'_1 after the search. Gradient reaches T through c_v as well. The position code runs along the
features and not along the tokens, as in the released code.

The additional positive adds lambda * mean(2 - 2 cos(z1, z3)) between projections, as with NNCLR.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsp.encoders.heads import Heads, HeadShape, predictor
from clsp.encoders.memory import Memory
from clsp.engine.ema import EMA
from clsp.engine.schedule import cosine
from clsp.errors import UserError
from clsp.methods.base import Group, Method, Output, Views, embed, pair
from clsp.objectives.correlation import feature_agreement
from clsp.objectives.paired_nce import paired_nce
from clsp.settings import Count, Fraction, Positive, settings
from clsp.settings.types import Momentum

_HEADS = 8
"""Attention heads of the transformer; the embedding's width must be a multiple."""


@settings
class All4OneSettings:
    """All4One (arXiv 2303.09417)."""

    temperature: Positive = 0.2
    """tau of the nearest-neighbour term."""
    centroid_temperature: Positive = 0.1
    """tau of the centroid term (the released code ignores the setting and uses 0.1)."""
    memory: Count = 98304
    """Embeddings in the support set."""
    neighbours: Count = 5
    """Neighbours from which a centroid is made."""
    momentum: Momentum = field(default_factory=lambda: [0.99, 1.0])
    """Decay of the momentum network at the first and at the last step, along a cosine."""
    dropout: Fraction = 0.1
    """Dropout of the transformer that makes the centroids."""
    transformer_lr: Positive = 0.1
    """Learning rate of that transformer as a multiple of the others'."""


class All4One(Method):
    """Encoder f, projector g, predictors h and h', the moving copy of f and g, the memory, and the transformer T."""

    Settings = All4OneSettings
    settings: All4OneSettings
    head: ClassVar[HeadShape] = HeadShape(layers=3, batch_norm=True, last_norm="affine")
    weighs_pairs: ClassVar[bool] = False
    position: Tensor

    def __init__(self, encoder: nn.Module, heads: Heads, settings: Any, *, seed: int) -> None:
        dim = heads.projector.dim
        if dim % _HEADS:
            raise UserError(
                f"all4one's transformer has {_HEADS} heads: pretrain.projector.dim {dim} must be a multiple"
            )
        if settings.memory < settings.neighbours:
            raise UserError(
                f"all4one looks for {settings.neighbours} neighbours: pretrain.all4one.memory {settings.memory} is less"
            )
        super().__init__(encoder, heads, settings, seed=seed)
        self.predictor = predictor(dim, heads.predictor)
        self.centroid_predictor = predictor(dim, heads.predictor)
        self.momentum = EMA(self.network, cosine(settings.momentum))
        self.memory = Memory(settings.memory, dim, seed=seed)
        layer = nn.TransformerEncoderLayer(dim, _HEADS, 2 * dim, settings.dropout, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.register_buffer("position", position_code(settings.neighbours, dim), persistent=False)

    def forward(self, views: Views) -> Output:
        """Neighbour, centroid and feature terms."""
        z1, z2, z3 = self.embed(views)
        t1, t2 = self._targets(views)
        found1, found2 = (self.memory.search(t, self.settings.neighbours) for t in (t1, t2))
        p1, p2, tau = self.predictor(z1), self.predictor(z2), self.settings.temperature
        nearest1, nearest2, ignore = found1.rows[:, 0], found2.rows[:, 0], views.ignore
        neighbour = 0.5 * paired_nce(nearest1, p2, tau, ignore=ignore) + 0.5 * paired_nce(
            nearest2, p1, tau, ignore=ignore
        )
        (c1, s1), (c2, s2) = self._centroids(z1, found1.rows), self._centroids(z2, found2.rows)
        tau = self.settings.centroid_temperature
        centroid = 0.5 * paired_nce(c1, s2, tau, ignore=ignore) + 0.5 * paired_nce(c2, s1, tau, ignore=ignore)
        feature = feature_agreement(t1, t2, z1, z2)
        self.memory.note(t1, views.ids)
        terms = {"neighbour": 0.5 * neighbour, "centroid": 0.5 * centroid, "feature": 0.5 * feature}
        return Output(terms, z1, z2, pair(z1, z3), found1.ids[:, 0])

    def _targets(self, views: Views) -> tuple[Tensor, Tensor]:
        t1, t2, _ = embed(self.momentum, views.real(), self.batch_norm)
        return F.normalize(t1.float(), dim=1), F.normalize(t2.float(), dim=1)

    def _centroids(self, z: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
        """The neighbours' centroid, and the same with the prediction in the first place: float [B, D] each."""
        own = self.centroid_predictor(z)[:, None].to(neighbours.dtype)
        shifted = torch.cat((own, neighbours[:, :-1]), dim=1)
        centroid, own_centroid = (
            first_output(self.transformer, tokens + self.position) for tokens in (neighbours, shifted)
        )
        return centroid, own_centroid

    def groups(self) -> list[Group]:
        """The transformer learns more slowly."""
        slow = list(self.transformer.parameters())
        marked = {id(p) for p in slow}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in marked]
        return [Group(others), Group(slow, lr_factor=self.settings.transformer_lr)]


def first_output(transformer: nn.TransformerEncoder, tokens: Tensor) -> Tensor:
    """Return what ``transformer(tokens)[:, 0]`` returns, float [B, D], for ``tokens`` [B, T, D].

    The other tokens' outputs of the last layer go nowhere and are not computed; dropout's draws have other shapes then.
    """
    *layers, last = transformer.layers
    for layer in layers:
        tokens = layer(tokens)
    first = tokens[:, :1]
    attended, _ = last.self_attn(first, tokens, tokens, need_weights=False)
    first = last.norm1(first + last.dropout1(attended))
    hidden = last.dropout(last.activation(last.linear1(first)))
    output: Tensor = last.norm2(first + last.dropout2(last.linear2(hidden)))
    return output[:, 0]


def position_code(tokens: int, dim: int) -> Tensor:
    """Sines and cosines over the features, with a frequency for each pair of tokens: float [tokens, dim].

    Row 2 i is sin(j / 10000^(2 i / c)), row 2 i + 1 the cosine, j the feature and c the tokens rounded up to even.
    """
    channels = 2 * -(-tokens // 2)
    frequency = 1.0 / 10000 ** (torch.arange(0, channels, 2).float() / channels)
    angle = torch.arange(dim).float()[:, None] * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :tokens].T.contiguous()
