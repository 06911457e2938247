"""The bank in a training loop of your own: a torch dataset of anchors and candidates, and how its items become batches.

Which candidate an anchor gets depends on the seed, the epoch and the anchor's dataset index alone. So it is the same in
every order, with any number of workers and processes, and another one in another epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clsp import files, randomness
from clsp.errors import UserError
from clsp.images.imageset import Images
from clsp.positives.bank import PositiveBank

Item = tuple[list[Tensor], int, str]
"""Views of an anchor and of its candidate, float [C, H, W] each; the label, -1 where there is none; the name."""

Transform = Callable[[Tensor], Tensor]

_MOST_EPOCHS = 2**32


class PositivePairs(Dataset[Item]):
    """Anchors of a bank, each with one of its candidates as its last view.

    Item ``i`` is ``(views, label, name)``, what a data set of lightly gives. ``views`` is a list: first the anchor
    through ``transform``, ``anchor_views`` times, then a candidate through it. `set_epoch` chooses other candidates; it
    reaches workers that live on (``persistent_workers``), and has to be called before the loader is iterated.

    Args:
        images: what the bank was made from, as `clsp.open_images` opens it.
        bank: a bank or its folder.
        transform: makes a view of an image, uint8 [C, H, W] to a tensor. Transforms of torchvision v2 and single-view
            transforms of lightly do so; begin others with ``ToPILImage()``. None: float32 in [0, 1], unchanged.
        anchor_views: views of the anchor before the candidate: 1 for pairs, 2 for two views and an additional positive.
        seed: names the draws of candidates; a transform draws from torch's generator.

    Raises:
        UserError: the bank was made from other images, or there is no bank.
        ValueError: ``anchor_views`` is below 1.
    """

    def __init__(
        self,
        images: Images,
        bank: PositiveBank | str | Path,
        *,
        transform: Transform | None = None,
        anchor_views: int = 1,
        seed: int = 0,
    ) -> None:
        if anchor_views < 1:
            raise ValueError(f"anchor_views is {anchor_views}; an anchor has at least one view")
        self.bank = bank if isinstance(bank, PositiveBank) else PositiveBank.open(bank)
        self.bank.require_data(images.fingerprint, images.source)
        self.images, self.seed = images, seed
        self._transform, self._anchor_views = transform or _unchanged, anchor_views
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers see what the loop sets

    def __len__(self) -> int:
        """Anchors of the bank."""
        return len(self.bank)

    @property
    def epoch(self) -> int:
        """The epoch whose candidates are drawn."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw the candidates of ``epoch`` from now on.

        Raises:
            ValueError: it is below 0, or 2^32 or above.
        """
        if not 0 <= epoch < _MOST_EPOCHS:
            raise ValueError(f"epoch {epoch} is outside 0 to {_MOST_EPOCHS - 1}")
        self._epoch.fill_(epoch)

    def chosen(self, places: Sequence[int] | np.ndarray, epoch: int | None = None) -> np.ndarray:
        """Return which candidates the items ``places`` get: int64 [B] in [0, k).

        Args:
            places: numbers of items, in [0, N).
            epoch: the epoch; None: the present one.
        """
        ids = torch.from_numpy(self.bank.ids[np.asarray(places, dtype=np.int64)])
        when = self.epoch if epoch is None else epoch
        return randomness.integers(self.seed, "candidate of the epoch", (when, ids), self.bank.candidates)[:, 0].numpy()

    def __getitem__(self, place: int) -> Item:
        """Return item ``place``; negative ones count from the end.

        Raises:
            IndexError: there is none.
        """
        return self.__getitems__([place])[0]

    def __getitems__(self, places: Sequence[int]) -> list[Item]:
        """Return several items; a DataLoader asks for its batch so, which reads the files once."""
        if wrong := [place for place in places if not -len(self) <= place < len(self)]:
            raise IndexError(f"item {wrong[0]} is outside 0 to {len(self) - 1}")
        files.stop_if_damaged()
        rows = np.asarray(places, dtype=np.int64) % len(self)
        ids, train = self.bank.ids[rows], self.images.train
        anchors = torch.from_numpy(files.take(train.images, ids))
        candidates = torch.from_numpy(self.bank.read(rows, self.chosen(rows)))
        labels = np.full(len(ids), -1) if train.labels is None else train.labels[ids]
        return [
            (self._views(anchor, candidate), int(label), str(train.names[int(number)]))
            for anchor, candidate, label, number in zip(anchors, candidates, labels, ids, strict=True)
        ]

    def _views(self, anchor: Tensor, candidate: Tensor) -> list[Tensor]:
        shown = [*[anchor] * self._anchor_views, candidate]
        views = [self._transform(image) for image in shown]
        if not all(isinstance(view, Tensor) for view in views):
            raise UserError(
                f"the transform gives a {type(views[0]).__name__}, not one tensor: give the transform of one view, "
                "such as lightly's SimCLRViewTransform, and end it with ToTensor() if it works on pictures"
            )
        return views


def collate_pairs(batch: Sequence[Item]) -> tuple[list[Tensor], Tensor, list[str]]:
    """Put items together as lightly's losses and examples take them.

    Args:
        batch: items of `PositivePairs`, at least one.

    Returns:
        The views, a list of tensors [B, C, H, W], the candidates' last; labels int64 [B]; B names.
    """
    views, labels, names = zip(*batch, strict=True)
    stacked = [torch.stack(several) for several in zip(*views, strict=True)]
    return stacked, torch.tensor(labels, dtype=torch.int64), list(names)


def _unchanged(image: Tensor) -> Tensor:
    return image.float() / 255.0
