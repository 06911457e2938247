"""The sources of the additional positive by name. A new source is a class with one method, and a line here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from clsp import files
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.positives.bank import PositiveBank
from clsp.positives.config import PositivesName
from clsp.positives.controls import Noised, OtherImage, matching_noise, nearest_images, same_class
from clsp.positives.frames import Frames
from clsp.positives.mixture import Mixture
from clsp.positives.pairs import PairList, Pairs
from clsp.positives.sources import Generated, PositiveSource, RealView

NEEDS_BANK: tuple[PositivesName, ...] = ("bank", "noise", "extra")
"""Sources that are made of a bank or measured against one."""

MADE_BY_GENERATOR: tuple[PositivesName, ...] = ("bank", "extra")
"""Sources that show generated images, and so cost what the generator costs."""

_NEIGHBOURS = 4
"""Nearest images that take turns as the positive, where no bank says how many candidates an anchor has."""


@dataclass(frozen=True)
class Material:
    """What sources are made of."""

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
    pairs: PairList | None = None
    window: int = 0
    """Frames that two frames of a video may be apart."""


def build_source(name: PositivesName, made_of: Material, *, seed: int, device: torch.device) -> PositiveSource | None:
    """Make the source called ``name``; None where the method has no additional positive.

    Raises:
        UserError: the source needs a bank, labels or videos that are not there.
    """
    pixels, ids, bank = made_of.pixels, made_of.ids, made_of.bank
    if name in ("bank", "noise") and bank is None:
        raise UserError(f"positives '{name}' need a bank; give --positives BANK")
    match name:
        case "view":
            return RealView()
        case "bank":
            assert bank is not None
            return Generated(bank, ids, seed=seed, device=device)
        case "noise":
            assert bank is not None
            return Noised(matching_noise(made_of.images, bank, ids), ids, seed=seed, device=device)
        case "random":
            return OtherImage(pixels, seed=seed)
        case "nearest":
            return nearest_images(pixels, bank.candidates if bank else _NEIGHBOURS, seed=seed, device=device)
        case "class":
            return same_class(pixels, made_of.labels, seed=seed, device=device)
        case "pairs":
            assert made_of.pairs is not None
            return Pairs(pixels, ids, made_of.pairs, seed=seed, device=device)
        case "frames":
            return Frames(pixels, ids, made_of.names, made_of.labels, window=made_of.window, seed=seed, device=device)
        case "mixture":
            return Mixture(ids, seed=seed, device=device)
        case "none" | "extra":
            return None
