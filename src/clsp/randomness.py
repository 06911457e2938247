"""Counter-based random numbers: every draw is a pure function of its name, not of what was drawn before it.

``normal(seed, "sampler", (anchor, candidate, step), 784)`` gives the same numbers whatever the batch size, the order,
the number of processes or the restarts, on a CPU and (up to the last bits of ``log`` and ``cos``) on a GPU. The
generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)

Coordinate = Tensor | int


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Philox4x32-10: four int64 tensors with values in [0, 2^32) to four such tensors."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = _multiply(_MULTIPLIERS[0], c0)
        high1, low1 = _multiply(_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def _multiply(constant: int, value: Tensor) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a 32 x 32 bit product, without leaving int64's sign."""
    upper, lower = constant >> 16, constant & 0xFFFF
    high = (value * upper + ((value * lower) >> 16)) >> 16
    return high, (value * constant) & _MASK


def bits(seed: int, stream: str, coordinates: Sequence[Coordinate], count: int) -> Tensor:
    """Draw random 32-bit words.

    Args:
        seed: the run's seed, any integer.
        stream: the name of what is drawn; streams of different names are independent.
        coordinates: one to three integers or int64 tensors [B] in [0, 2^32) that name the row (anchor, step, ...).
        count: words per row.

    Returns:
        int64 [B, count], values in [0, 2^32); B is 1 when all coordinates are integers.
    """
    if not 1 <= len(coordinates) <= 3:
        raise ValueError(f"one to three coordinates name a row, got {len(coordinates)}")
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    key = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")
    device = next((c.device for c in coordinates if isinstance(c, Tensor)), torch.device("cpu"))
    rows = [_row(c, device) for c in coordinates]
    rows += [torch.zeros(1, 1, dtype=torch.int64, device=device)] * (3 - len(rows))
    blocks = torch.arange(-(-count // 4), device=device).reshape(1, -1)
    c0, c1, c2, c3 = torch.broadcast_tensors(blocks, *rows)
    words = torch.stack(philox((c0, c1, c2, c3), key), dim=-1)
    return words.flatten(1)[:, :count]


def _row(coordinate: Coordinate, device: torch.device) -> Tensor:
    """A coordinate as int64 [B, 1]. A number is filled in on the device: to copy it would wait for the device."""
    if isinstance(coordinate, Tensor):
        return coordinate.to(device, torch.int64).reshape(-1, 1)
    return torch.full((1, 1), coordinate, dtype=torch.int64, device=device)


def uniform(seed: int, stream: str, coordinates: Sequence[Coordinate], count: int) -> Tensor:
    """Draw float32 [B, count], uniform in (0, 1]: never 0; the last of 2^24 values rounds to 1. See `bits`."""
    return ((bits(seed, stream, coordinates, count) >> 8).float() + 0.5) * 2.0**-24


def integers(seed: int, stream: str, coordinates: Sequence[Coordinate], high: int, count: int = 1) -> Tensor:
    """Draw int64 [B, count], uniform in [0, high) (up to a bias of high / 2^32). See `bits` for the arguments."""
    return (bits(seed, stream, coordinates, count) * high) >> 32


def normal(seed: int, stream: str, coordinates: Sequence[Coordinate], shape: Sequence[int]) -> Tensor:
    """Draw float32 [B, *shape], standard normal, by Box and Muller. See `bits` for the other arguments."""
    count = math.prod(shape)
    half = -(-count // 2)
    flat = uniform(seed, stream, coordinates, 2 * half)
    radius = flat[:, :half].log().mul_(-2.0).sqrt_()
    angle = flat[:, half:].mul(2.0 * math.pi)
    pair = torch.cat((radius * angle.cos(), radius * angle.sin()), dim=1)
    return pair[:, :count].reshape(-1, *shape)


def permutation(seed: int, stream: str, index: int, size: int) -> Tensor:
    """Return a random permutation of ``range(size)``, int64 [size] on the CPU, named by ``index`` (an epoch)."""
    words = bits(seed, stream, (index,), 2 * size)[0]
    return torch.argsort((words[0::2] << 31) ^ words[1::2], stable=True)
