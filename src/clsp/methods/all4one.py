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

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsp import distributed
from clsp.encoders.backbone import feature_count
from clsp.encoders.config import PredictorConfig, ProjectorConfig
from clsp.encoders.heads import HeadShape, predictor, projector
from clsp.encoders.memory import Memory
from clsp.engine.ema import EMA
from clsp.engine.schedule import cosine_between
from clsp.errors import UserError
from clsp.methods.base import Group, Losses, Method, Views, embed
from clsp.methods.config import All4OneConfig, BatchNormMode
from clsp.objectives.contrastive import paired_nce
from clsp.objectives.correlation import feature_agreement

_HEADS = 8
"""Attention heads of the transformer; the embedding's width must be a multiple."""


class All4One(Method):
    """Encoder f, projector g, predictors h and h', the moving copy of f and g, the memory, and the transformer T."""

    position: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        head: ProjectorConfig,
        prediction: PredictorConfig,
        config: All4OneConfig,
        *,
        batch_norm: BatchNormMode,
        seed: int,
    ) -> None:
        super().__init__()
        if head.dim % _HEADS:
            raise UserError(
                f"all4one's transformer has {_HEADS} heads: pretrain.projector.dim {head.dim} must be a multiple"
            )
        self.encoder = encoder
        usual = HeadShape(layers=3, batch_norm=True, last_norm="affine")
        self.projector = projector(feature_count(encoder), head, usual)
        self.predictor = predictor(head.dim, prediction)
        self.centroid_predictor = predictor(head.dim, prediction)
        self.momentum = EMA(nn.Sequential(self.encoder, self.projector))
        self.memory = Memory(config.memory, head.dim, seed=seed)
        layer = nn.TransformerEncoderLayer(head.dim, _HEADS, 2 * head.dim, config.dropout, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.register_buffer("position", position_code(config.neighbours, head.dim), persistent=False)
        self.config, self.batch_norm = config, batch_norm
        self._seen: tuple[Tensor, Tensor] | None = None

    def forward(self, views: Views) -> Losses:
        """Neighbour, centroid and feature terms."""
        z1, z2, z3 = embed(nn.Sequential(self.encoder, self.projector), views, self.batch_norm)
        t1, t2 = self._targets(views)
        found1, found2 = (self.memory.search(t, self.config.neighbours) for t in (t1, t2))
        p1, p2, tau = self.predictor(z1), self.predictor(z2), self.config.temperature
        neighbour = 0.5 * paired_nce(found1.rows[:, 0], p2, tau) + 0.5 * paired_nce(found2.rows[:, 0], p1, tau)
        (c1, s1), (c2, s2) = self._centroids(z1, found1.rows), self._centroids(z2, found2.rows)
        tau = self.config.centroid_temperature
        centroid = 0.5 * paired_nce(c1, s2, tau) + 0.5 * paired_nce(c2, s1, tau)
        feature = feature_agreement(t1, t2, z1, z2)
        self._seen = t1, views.ids
        terms = {"neighbour": 0.5 * neighbour, "centroid": 0.5 * centroid, "feature": 0.5 * feature}
        return Losses(terms, z1, z2, None if z3 is None else (z1, z3), found1.ids[:, 0])

    @torch.no_grad()
    def _targets(self, views: Views) -> tuple[Tensor, Tensor]:
        t1, t2, _ = embed(self.momentum.average, views.real(), self.batch_norm)
        return F.normalize(t1.detach().float(), dim=1), F.normalize(t2.detach().float(), dim=1)

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
        return [Group(others), Group(slow, lr_factor=self.config.transformer_lr)]

    def before_step(self, done: float) -> None:
        """Move the momentum network."""
        first, last = self.config.momentum
        self.momentum.update(nn.Sequential(self.encoder, self.projector), cosine_between(first, last, done))

    def after_step(self) -> None:
        """Remember the momentum network's first views."""
        assert self._seen is not None
        t1, ids = self._seen
        self.memory.add(distributed.gather_detached(t1), distributed.gather_detached(ids))
        self._seen = None


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
