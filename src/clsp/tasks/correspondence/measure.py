"""How well points are found: on warps of images, and on the pairs of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import files
from clsp.errors import UserError
from clsp.images.decode import UnreadableImage, decode_file
from clsp.images.imageset import subset
from clsp.tasks.correspondence.config import MeasureConfig
from clsp.tasks.correspondence.features import Mapped
from clsp.tasks.correspondence.keypoints import Pair
from clsp.tasks.correspondence.matching import match
from clsp.tasks.correspondence.pck import pck
from clsp.tasks.correspondence.warps import warp

Points = tuple[np.ndarray, np.ndarray, float]
"""Points that were guessed, true ones, and the extent that alpha is a fraction of."""

Finder = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Finds points [P, 2] of an image [C, H, W] in another one: [P, 2]."""


@dataclass(frozen=True)
class Matcher:
    """Finds points of one image in another."""

    mapped: Mapped
    transport: bool = False
    hough: bool = False

    def __call__(self, source: Tensor, target: Tensor, points: Tensor) -> Tensor:
        """Find points [P, 2] of the image ``source`` [C, H, W] in ``target``: [P, 2]; both in [0, 1]."""
        maps = [self.mapped(image[None])[0].cpu() for image in (source, target)]
        return match(maps[0], maps[1], points, transport=self.transport, hough=self.hough)[0]


def _same_place(source: Tensor, target: Tensor, points: Tensor) -> Tensor:
    """The floor of all features: every point is where it was."""
    return points


def _finders(rows: Mapping[str, Mapped], config: MeasureConfig) -> dict[str, Finder]:
    found: dict[str, Finder] = {"same place": _same_place}
    return found | {name: Matcher(mapped, config.transport, config.hough) for name, mapped in rows.items()}


def on_warps(
    rows: Mapping[str, Mapped], images: files.Array, config: MeasureConfig, *, seed: int
) -> dict[str, dict[str, float]]:
    """PCK of points on warps of images, alpha a fraction of the image: by row, and of guessing that no point moved.

    Args:
        rows: what maps images, by name.
        images: uint8 [N, C, H, W].
        config: number of warps and points, and how matches are found.
        seed: chooses the images, where there are more, and names the warps.
    """
    chosen = subset(len(images), config.pairs, seed=seed)  # the first ones would be of one class
    real = torch.from_numpy(files.take(images, chosen)).float() / 255.0
    warped = warp(real, config.points, seed=seed, ids=torch.from_numpy(chosen))
    found = {}
    for name, finder in _finders(rows, config).items():
        guessed = [finder(*pair) for pair in zip(warped.images, real, warped.points, strict=True)]
        pairs: list[Points] = [(g.numpy(), t.numpy(), 2.0) for g, t in zip(guessed, warped.truth, strict=True)]
        found[name] = {key: round(value, 2) for key, value in pck(pairs).items()}
    return found


def on_pairs(
    rows: Mapping[str, Mapped],
    pairs: Sequence[Pair],
    config: MeasureConfig,
    *,
    size: int,
    channels: int,
    seed: int,
) -> dict[str, dict[str, float]]:
    """PCK of key points on pairs of a benchmark: by row, and of guessing that no point moved.

    Args:
        rows: what maps images, by name.
        pairs: of images with key points.
        config: number of pairs, and how matches are found.
        size: side in pixels to which both images are brought, whatever their shape.
        channels: of the images.
        seed: chooses the pairs, where there are more: a benchmark lists them by class.

    Raises:
        UserError: an image cannot be read.
    """
    finders = _finders(rows, config)
    found: dict[str, list[Points]] = {name: [] for name in finders}
    for pair in (pairs[int(row)] for row in subset(len(pairs), config.pairs, seed=seed)):
        source, first = _squeezed(pair.source, size, channels)
        target, second = _squeezed(pair.target, size, channels)
        points = torch.from_numpy((pair.points + 0.5) / first * 2 - 1).float()
        extent = float(max(second)) if pair.extent is None else pair.extent
        for name, finder in finders.items():
            guessed = finder(source, target, points).numpy()
            found[name].append(((guessed + 1) / 2 * second - 0.5, pair.truth, extent))
    return {name: {key: round(value, 2) for key, value in pck(some).items()} for name, some in found.items()}


def opened(path: Path, size: int | None, channels: int) -> Tensor:
    """The middle square of an image at ``size`` pixels, or the whole image: float [C, H, W] in [0, 1].

    Raises:
        UserError: it cannot be read.
    """
    try:
        pixels = decode_file(path, size=size, channels=channels).pixels
    except (UnreadableImage, OSError) as error:
        raise UserError(f"{path} is no image that can be read: {error}") from error
    return torch.from_numpy(pixels.copy()).float() / 255.0


def _squeezed(path: Path, size: int, channels: int) -> tuple[Tensor, np.ndarray]:
    """An image in [0, 1], float [C, size, size], and the width and height of its file, int64 [2]."""
    image = opened(path, None, channels)
    small = F.interpolate(image[None], (size, size), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return small[0], np.array([image.shape[2], image.shape[1]])
