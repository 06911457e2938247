"""Two sources in one training: each anchor of a step has its positive from one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from clsp import randomness
from clsp.positives.source import Draw, Material, Positive, Source


def either(first: Source, second: Source) -> Source:
    """Make one source of two, both of images that belong to one anchor: a fair coin chooses, for each anchor anew."""

    class Either(Source):
        needs_bank: ClassVar[bool] = first.needs_bank or second.needs_bank
        needs_labels: ClassVar[bool] = first.needs_labels or second.needs_labels
        generated: ClassVar[bool] = first.generated or second.generated
        one_anchor: ClassVar[bool] = first.one_anchor and second.one_anchor
        weighted: ClassVar[bool] = first.weighted or second.weighted

        def build(self, material: Material, *, seed: int, device: torch.device) -> Draw:
            """Return what tosses the coin."""
            draws = (first.build(material, seed=seed, device=device), second.build(material, seed=seed, device=device))
            return Tossed(draws, torch.from_numpy(material.ids).to(device), seed)

        def reads(self, names: Sequence[str]) -> dict[str, str]:
            """Return the files of both."""
            return {**first.reads(names), **second.reads(names)}

    return Either()


@dataclass(frozen=True)
class Tossed:
    """Draws from one of two sources."""

    draws: tuple[Draw, Draw]
    ids: Tensor
    """Dataset indices of the images trained on, int64 [N]."""
    seed: int

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return a positive of each anchor: half of them by the first source, half by the second."""
        one, other = (draw(positions, anchors, step) for draw in self.draws)
        own = self.ids[positions]
        second = randomness.uniform(self.seed, "either source", (step, own), 1)[:, 0] < 0.5
        full = torch.ones(len(own), device=own.device)
        return Positive(
            torch.where(second.view(-1, 1, 1, 1), other.images, one.images),
            weights=_chosen(second, one.weights, other.weights, full),
            ids=_chosen(second, one.ids, other.ids, own),
        )


def _chosen(second: Tensor, one: Tensor | None, other: Tensor | None, without: Tensor) -> Tensor | None:
    """Values of the chosen source; ``without`` where it has none, and None where neither has."""
    if one is None and other is None:
        return None
    return torch.where(second, without if other is None else other, without if one is None else one)
