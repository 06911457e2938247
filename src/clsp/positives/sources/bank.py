"""Candidates of a bank: the synthetic positives of the paper (arXiv 2408.16965)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from clsp import randomness
from clsp.engine.pixels import Pixels, own_memory
from clsp.positives.bank import PositiveBank
from clsp.positives.source import Draw, Material, Positive, Source, bank_of
from clsp.settings import settings

_AT_ONCE = 1024
"""Anchors whose candidates are read at once."""


@settings
class Generated(Source):
    """One of the k candidates of the anchor, drawn uniformly at every visit."""

    needs_bank: ClassVar[bool] = True
    generated: ClassVar[bool] = True

    def build(self, material: Material, *, seed: int, device: torch.device) -> Draw:
        """Return what draws from the bank."""
        return Candidates(bank_of(material, "bank"), material.ids, seed=seed, device=device)


class Candidates:
    """Draws from a bank.

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
            height, width, channels = bank.manifest["shape"]
            every = np.empty((len(rows), bank.candidates, channels, height, width), np.uint8)
            for first in range(0, len(rows), _AT_ONCE):  # no second copy of a bank that fills a device's memory
                every[first : first + _AT_ONCE] = bank.array(rows[first : first + _AT_ONCE])
            self._resident = Pixels(every.reshape(-1, *every.shape[2:])).to(device)

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return a candidate of each anchor."""
        ids = self._ids[positions]
        chosen = randomness.integers(self._seed, "candidate", (step, ids), self._candidates)[:, 0]
        if self._resident is not None:
            return Positive(self._resident[positions * self._candidates + chosen])
        rows = self._rows[positions.cpu().numpy()]
        return Positive(torch.from_numpy(self._bank.read(rows, chosen.cpu().numpy())).to(anchors.device))
