"""Product quantisation: soft while it is trained, codes of some bytes in the index."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn

from clsp.tasks.retrieval.config import QuantiserConfig

WORDS = 256
"""Words of a codebook: a code is a byte for each part."""
_FITTED = 20_000
"""Features that the first words are fitted to, at most."""


class Quantiser(nn.Module):
    """Features to parts of unit length, and those to words.

    Args:
        features: width D of the encoder's features.
        config: number and width of the parts.
    """

    def __init__(self, features: int, config: QuantiserConfig) -> None:
        super().__init__()
        self.parts, self.width, self.hardness = config.parts, config.width, config.hardness
        self.projection = nn.Linear(features, self.parts * self.width, bias=False)
        nn.init.orthogonal_(self.projection.weight)
        self.words = nn.Parameter(F.normalize(torch.randn(self.parts, WORDS, self.width), dim=2))

    @torch.no_grad()
    def fit(self, features: Tensor, *, seed: int) -> None:
        """Begin with the words that k-means finds in the projected features, float [N, D].

        Fewer features than words leave the other words as they were drawn.
        """
        some = self.query(features[:: max(len(features) // _FITTED, 1)]).cpu().numpy()
        count = min(WORDS, len(np.unique(some.round(6), axis=0)))
        for part in range(self.parts):
            means = KMeans(count, n_init=1, max_iter=20, random_state=seed % 2**32).fit(some[:, part])
            centres = torch.from_numpy(means.cluster_centers_).to(self.words)
            self.words[part, :count] = F.normalize(centres, dim=1)

    @property
    def unit_words(self) -> Tensor:
        """The words, float [parts, WORDS, width], of unit length."""
        return F.normalize(self.words, dim=2)

    def query(self, features: Tensor) -> Tensor:
        """Project features [N, D] to parts of unit length: float [N, parts, width]."""
        projected: Tensor = self.projection(features)
        return F.normalize(projected.unflatten(1, (self.parts, self.width)), dim=2)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise softly: embeddings float [N, parts * width], and the choices float [N, parts, WORDS]."""
        words = self.unit_words
        choices = (self.hardness * torch.einsum("npw,pkw->npk", self.query(features), words)).softmax(dim=2)
        return torch.einsum("npk,pkw->npw", choices, words).flatten(1), choices

    @torch.no_grad()
    def codes(self, features: Tensor) -> np.ndarray:
        """The nearest word of every part: uint8 [N, parts]."""
        similar = torch.einsum("npw,pkw->npk", self.query(features), self.unit_words)
        return similar.argmax(dim=2).to(torch.uint8).cpu().numpy()

    @torch.no_grad()
    def decode(self, codes: np.ndarray) -> Tensor:
        """The words of codes uint8 [N, parts], joined: float [N, parts * width]."""
        chosen = torch.from_numpy(codes).long()
        return self.unit_words[torch.arange(self.parts), chosen].flatten(1)

    @torch.no_grad()
    def table(self, features: Tensor) -> np.ndarray:
        """What every word adds to the score of an image, for queries [N, D]: float32 [N, parts, WORDS]."""
        return torch.einsum("npw,pkw->npk", self.query(features), self.unit_words).float().cpu().numpy()


def entropy(choices: Tensor) -> Tensor:
    """Mean entropy of the choices float [N, parts, WORDS], in nats: a scalar."""
    return -(choices * choices.clamp(min=1e-12).log()).sum(dim=2).mean()


def crowding(words: Tensor) -> Tensor:
    """Mean cosine of two words of a codebook, of unit words float [parts, WORDS, width]: a scalar."""
    count = words.shape[1]
    return ((words.sum(dim=1).square().sum(dim=1) - count) / (count * (count - 1))).mean()
