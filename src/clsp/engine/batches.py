"""Which images make up the batch of a step: a pure function of (seed, step), so that resuming needs no loader state."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from clsp import distributed, randomness
from clsp.engine.transfer import send
from clsp.errors import UserError


class Batches:
    """The order in which images are seen: a new permutation each epoch, shared out among the processes.

    Args:
        count: number of images N.
        batch_size: images a step over all processes.
        seed: names the permutations.
        stream: two orders with different names are independent.
        drop_last: True: an epoch has floor(N / batch_size) batches without repetition, as contrastive objectives
            need; False: epochs follow each other without a gap, so that every image is seen equally often, and a
            batch may be larger than N.

    Raises:
        UserError: ``drop_last`` and fewer images than a batch.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, stream: str, drop_last: bool) -> None:
        if drop_last and count < batch_size:
            raise UserError(f"batch_size {batch_size} is larger than the {count} images; choose at most {count}")
        self.count, self.batch_size, self.drop_last = count, batch_size, drop_last
        self._permutation = lru_cache(maxsize=2)(
            lambda epoch: randomness.permutation(seed, f"order of {stream}", epoch, count)
        )

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every image (but a dropped remainder) was seen once; at least 1."""
        return max(self.count // self.batch_size, 1)

    def rows(self) -> Tensor:
        """Places of this process's images in the batch: int64 [batch_size / processes].

        Raises:
            UserError: the processes cannot share the batch equally.
        """
        world = distributed.world_size()
        if self.batch_size % world:
            raise UserError(f"batch_size {self.batch_size} cannot be shared by {world} processes; choose a multiple")
        each = self.batch_size // world
        return torch.arange(each) + each * distributed.rank()

    def positions(self, step: int, device: torch.device | None = None) -> Tensor:
        """Return the images of this process's part of the batch of ``step``: int64 [batch_size / processes].

        Args:
            step: from 0.
            device: where they are wanted; None: on the CPU.
        """
        found = self._positions(step)
        return found if device is None else send(found, device)

    def _positions(self, step: int) -> Tensor:
        rows = self.rows()
        if self.drop_last:
            epoch, within = divmod(step, self.steps_per_epoch)
            return self._permutation(epoch)[within * self.batch_size + rows]
        places = step * self.batch_size + rows
        epochs = places // self.count
        return torch.stack([self._permutation(int(e))[p % self.count] for e, p in zip(epochs, places)])
