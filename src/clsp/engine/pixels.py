"""uint8 images where the training can reach them: on the device when they fit, else memory-mapped."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clsp import files


class Pixels:
    """Rows of a uint8 array [N, ...], fetched by index as uint8 tensors on a device.

    Args:
        array: uint8 [N, ...], in memory, memory-mapped or lazy.
        rows: int64 [M], the rows that are used; they are addressed 0 .. M - 1 from here on.
    """

    LIMIT = 4_000_000_000
    """Bytes up to which rows are copied to any device once; larger arrays are read row by row from the disk."""

    SHARE = 1 / 3
    """Of a GPU's memory, the fraction that rows may take if that is more."""

    def __init__(self, array: files.Array, rows: np.ndarray | None = None) -> None:
        self._array, self._rows = array, np.arange(len(array)) if rows is None else rows
        self.shape = (len(self._rows), *array.shape[1:])
        self._resident: Tensor | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @classmethod
    def fit(cls, size: int, memory: float) -> bool:
        """Whether ``size`` bytes are copied to a device with ``memory`` bytes of its own (0: the CPU)."""
        return size <= max(cls.LIMIT, cls.SHARE * memory)

    def to(self, device: torch.device) -> Pixels:
        """Copy the rows to ``device`` if they fit there."""
        if self.fit(int(np.prod(self.shape)), own_memory(device)):
            self._resident = torch.from_numpy(self._in_memory()).to(device)
        return self

    def _in_memory(self) -> np.ndarray:
        """The rows, copied; where all of them lie in memory as they are, a CPU needs no second copy."""
        array = self._array
        if isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
            plain = array.flags.c_contiguous and array.flags.writeable
            if plain and np.array_equal(self._rows, np.arange(len(array))):
                return array
        return files.take(array, self._rows)

    def __getitem__(self, positions: Tensor) -> Tensor:
        """Fetch ``positions`` (int64 [B]) as uint8 [B, ...], on the positions' device."""
        if self._resident is not None:
            return self._resident[positions.to(self._resident.device)]
        rows = self._rows[positions.cpu().numpy()]
        return torch.from_numpy(files.take(self._array, rows)).to(positions.device)


def coarse(images: Tensor, side: int) -> Tensor:
    """Describe images [B, C, H, W] by pixels of at most ``side`` x ``side`` fields, each their mean: float [B, D]."""
    size = min(images.shape[2], side), min(images.shape[3], side)
    values = images.float()
    return (values if size == images.shape[2:] else F.adaptive_avg_pool2d(values, size)).flatten(1)


class BlankPixels(Pixels):
    """Black images of a shape [N, ...], which take no memory: a step on them costs what one on real images does."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def to(self, device: torch.device) -> Pixels:
        """They are everywhere."""
        return self

    def __getitem__(self, positions: Tensor) -> Tensor:
        return torch.zeros(len(positions), *self.shape[1:], dtype=torch.uint8, device=positions.device)


def own_memory(device: torch.device) -> int:
    """Bytes of memory that ``device`` has for itself; 0 for all but CUDA's."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
