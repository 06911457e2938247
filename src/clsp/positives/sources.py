"""Sources of the additional positive, acting on images: for a batch of anchors, one more uint8 image each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from clsp import randomness
from clsp.engine.pixels import Pixels, own_memory
from clsp.positives.bank import PositiveBank


@dataclass(frozen=True)
class Positive:
    """One more image for each anchor of a batch, and how it counts."""

    images: Tensor
    """uint8 [B, C, H, W], on the anchors' device; they are augmented afterwards like the anchors."""
    weights: Tensor | None = None
    """How strongly each counts, float [B] in [0, 1]; None: fully."""
    mates: Tensor | None = None
    """Of mixtures: the place in the batch of the other anchor that the image shows, int64 [B]. That anchor is pulled to
    it, too, with the weight 1 - ``weights``."""
    ids: Tensor | None = None
    """Of other real images: their dataset indices, int64 [B], where they are to be no negatives of their anchors while
    they are their positives; None: nothing is left out."""


class PositiveSource(Protocol):
    """Where the additional positive comes from. A new source is a class with this one method."""

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return the positives of a batch.

        Args:
            positions: places of the anchors among the images trained on, int64 [B].
            anchors: their images, uint8 [B, C, H, W].
            step: the training step, which names random choices.
        """
        ...


class RealView:
    """The anchor itself, to be augmented once more: the control for "one more view"."""

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return the anchors."""
        return Positive(anchors)


class Generated:
    """One of the k candidates of the bank, drawn uniformly at every visit.

    Args:
        bank: the bank.
        ids: dataset indices of the images trained on, int64 [N].
        seed: names the choices.
        device: where the candidates go, if they fit there.

    Raises:
        UserError: the bank lacks candidates for some ids.
    """

    def __init__(self, bank: PositiveBank, ids: np.ndarray, *, seed: int, device: torch.device) -> None:
        self._seed, self._candidates = seed, bank.candidates
        self._ids = torch.from_numpy(ids).to(device)
        rows = bank.rows(ids)
        self._bank, self._rows = bank, rows
        flat = len(rows) * bank.candidates * int(np.prod(bank.manifest["shape"]))
        self._resident: Pixels | None = None
        if Pixels.fit(flat, own_memory(device)):
            every = np.concatenate([bank.array(part) for part in np.array_split(rows, max(len(rows) // 1024, 1))])
            self._resident = Pixels(every.reshape(-1, *every.shape[2:])).to(device)

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return a candidate of each anchor."""
        ids = self._ids[positions]
        chosen = randomness.integers(self._seed, "candidate", (step, ids), self._candidates)[:, 0]
        if self._resident is not None:
            return Positive(self._resident[positions * self._candidates + chosen])
        rows = self._rows[positions.cpu().numpy()]
        return Positive(torch.from_numpy(self._bank.read(rows, chosen.cpu().numpy())).to(anchors.device))
