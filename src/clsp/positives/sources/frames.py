"""Other frames of the same video: IVPP's positives. VanBerlo et al., arXiv 2403.07715.

For frame i of a video of n frames: j ~ U{max(0, i - d) .. min(i + d, n - 1)}, and the pair counts with the weight
w = (d - |j - i| + 1) / (d + 1), as in the authors' code; d is the window, in frames. j = i is among them.

There an epoch takes one pair of each video, so that two frames of a video never repel each other; here every frame is
an anchor, and the frame that is drawn is no negative while it is the positive.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from clsp import console
from clsp.errors import UserError
from clsp.positives.lists import OneOf
from clsp.positives.source import Draw, Material, Positive, Source
from clsp.settings import settings
from clsp.settings.types import NonNegativeInt


@settings
class Frames(Source):
    """Another frame of the anchor's video; the farther away, the less it counts."""

    weighted: ClassVar[bool] = True

    window: NonNegativeInt = 10
    """d: how many frames two frames may be apart."""
    weigh: bool = True
    """Whether a pair counts the less the farther its frames are apart; false: all count fully."""

    def build(self, material: Material, *, seed: int, device: torch.device) -> Draw:
        """Return what draws frames.

        Raises:
            UserError: the folders are the classes of the data.
        """
        ids, names = material.ids, material.names
        every_video, every_time = places_in_time(names)
        videos, times = every_video[ids], every_time[ids]
        _require_videos(videos, material.labels)
        lengths = np.unique(videos, return_counts=True)[1]
        console.say(f"frames: videos (folders): {len(lengths)}, of {lengths.min()} to {lengths.max()} frames")
        order = np.lexsort((times, videos))
        # One number line for all videos, farther apart than the window: neighbours in time are then a range of it.
        line = videos.astype(np.int64) * (len(names) + self.window + 1) + times
        firsts = np.searchsorted(line[order], line - self.window)
        counts = np.searchsorted(line[order], line + self.window, side="right") - firsts
        lists = OneOf(material.pixels, *(torch.from_numpy(x).to(device) for x in (order, firsts, counts)), seed=seed)
        own, when = (torch.from_numpy(values).to(device) for values in (ids, times))
        return NearInTime(lists, own, when, self.window if self.weigh else None)


@dataclass(frozen=True)
class NearInTime:
    """Draws a frame that is at most ``window`` frames away.

    The folder of an image is its video, and the folder's files in natural order (frame 10 after frame 9) are its
    frames. Frames that are not trained on keep their place in time.
    """

    lists: OneOf
    ids: Tensor
    """Dataset indices of the images trained on, int64 [N]."""
    times: Tensor
    """Their places in their videos, int64 [N]."""
    window: int | None
    """That the weights are reckoned with; None: there are none."""

    def __call__(self, positions: Tensor, anchors: Tensor, step: int) -> Positive:
        """Return a frame for each anchor, with the weight of its distance."""
        found = self.lists.flat[self.lists.draw(positions, step)]
        if self.window is None:
            return Positive(self.lists.pixels[found], ids=self.ids[found])
        distance = (self.times[found] - self.times[positions]).abs()
        weights = (self.window - distance + 1).float() / (self.window + 1)
        return Positive(self.lists.pixels[found], weights=weights, ids=self.ids[found])


def places_in_time(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each image's folder and its place among the folder's files, both int64 [N]."""
    folders = [str(PurePosixPath(name).parent) for name in names]
    numbers = {folder: number for number, folder in enumerate(sorted(set(folders)))}
    videos, times = np.array([numbers[folder] for folder in folders]), np.empty(len(names), np.int64)
    seen = dict.fromkeys(numbers, 0)
    for place in sorted(range(len(names)), key=lambda place: _natural(names[place])):
        times[place] = seen[folders[place]]
        seen[folders[place]] += 1
    return videos, times


def _natural(name: str) -> list[tuple[bool, int | str]]:
    """Order digits by their value: f9 before f10."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else part) for part in re.split(r"(\d+)", name)]


def _require_videos(videos: np.ndarray, labels: np.ndarray | None) -> None:
    """Refuse folders that are classes: another image of the class would be a positive that labels gave away."""
    if labels is None:
        return
    known = labels >= 0
    pairs = np.unique(np.stack((videos[known], labels[known])), axis=1)
    if pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1])) > 1:
        raise UserError(
            "positives 'frames' take the folders of the images for videos, and here they are the classes; "
            "give every video a folder of its own: CLASS/VIDEO/frame.png, or VIDEO/frame.png"
        )
