"""What a source of positives is: where the other image of an anchor, or the other embedding, comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from clsp import files
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.positives.bank import PositiveBank
from clsp.positives.positive import Positive as Positive

if TYPE_CHECKING:
    from clsp.positives.neighbour import NeighbourSearch
    from clsp.positives.placement import Host


@dataclass(frozen=True)
class Material:
    """What sources draw from."""

    pixels: Pixels
    """The images trained on."""
    ids: np.ndarray
    """Their dataset indices, int64 [N]."""
    labels: np.ndarray | None
    """Their labels, int64 [N]."""
    images: files.Array
    """All train images, uint8 [M, C, H, W], by dataset index."""
    names: Sequence[str]
    """Their names."""
    bank: PositiveBank | None = None


class Draw(Protocol):
    """Draws the positives of a batch of anchors."""

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return a positive for each anchor.

        Args:
            positions: places of the anchors among the images trained on, int64 [B].
            anchors: their images, uint8 [B, C, H, W].
            step: the training step, which names random choices.
        """
        ...


class Source:
    """Where positives come from. Its fields are its settings; what it needs stands beside them."""

    needs_bank: ClassVar[bool] = False
    """Whether it is made of a bank, or measured against one."""
    needs_labels: ClassVar[bool] = False
    """Whether it sees the labels: an upper bound, never a rival."""
    generated: ClassVar[bool] = False
    """Whether it shows generated images, and so costs what the generator costs."""
    one_anchor: ClassVar[bool] = True
    """Whether a positive belongs to one anchor alone; else it cannot stand in the second view's place."""
    weighted: ClassVar[bool] = False
    """Whether its positives count by weights of their own."""
    level: ClassVar[Literal["image", "embedding"]] = "image"
    """What it gives: another image, or another embedding for one that was computed."""

    @classmethod
    def plain(cls) -> bool:
        """Whether it gives one other image of each anchor, without labels or weights: what every task can take."""
        return cls.level == "image" and cls.one_anchor and not (cls.needs_labels or cls.weighted)

    def build(self, material: Material, *, seed: int, device: torch.device) -> Draw:
        """Make what draws images from ``material``; a source of images has it.

        Raises:
            UserError: what it needs is not there, or does not suit it.
        """
        raise NotImplementedError

    def search(self, dim: int, *, seed: int, host: Host | None) -> NeighbourSearch:
        """Make what finds embeddings of width ``dim``; a source of embeddings has it."""
        raise NotImplementedError

    def reads(self, names: Sequence[str]) -> dict[str, str]:
        """Return the fingerprints of the files that it reads besides the data and the bank, by their names.

        Args:
            names: of all train images, by dataset index.

        Raises:
            UserError: a file is missing or cannot be read.
        """
        return {}


def bank_of(material: Material, source: str) -> PositiveBank:
    """Return the bank.

    Raises:
        UserError: there is none.
    """
    if material.bank is None:
        raise UserError(f"positives '{source}' need a bank; give --positives BANK")
    return material.bank
