"""Arrays in ``.npy`` and ``.npz`` files: their headers first, and their numbers without a second copy."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from clsp.memory import free_memory

_CHUNK = 1 << 20
_LARGE = 1 << 30
"""Bytes above which a member must not unpack to too many times its size."""
_PACKED = 200
"""Times that pixels of real images are not packed by; deflate itself can reach a thousand."""


@dataclass(frozen=True, kw_only=True)
class Array:
    """An array in a file, its numbers not read."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int
    """Bytes before its numbers, in the file or in the member."""
    member: str = ""
    """Its name in an archive; empty where the file is the array."""

    @property
    def size(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """Its numbers: mapped where they lie unpacked in the file, else unpacked piece by piece.

        Raises:
            ValueError: it holds fewer numbers than it declares, Python objects, or more than the memory takes.
            zipfile.BadZipFile: the archive is damaged.
        """
        if self.dtype.hasobject:
            raise ValueError("it holds Python objects (a pickle)")
        if not self.member:
            return self._mapped(self.start, self.path.stat().st_size - self.start)
        with zipfile.ZipFile(self.path) as archive:
            info = archive.getinfo(self.member)
            if info.file_size - self.start != self.size:
                held = f"{info.file_size - self.start:,}"
                raise ValueError(f"'{self.member}' declares {self.size:,} bytes and holds {held}")
            with archive.open(info) as stream:
                if info.compress_type == zipfile.ZIP_STORED:
                    while stream.read(_CHUNK):  # the archive's checksum is compared at the end
                        pass
                    return self._mapped(_data_of(self.path, info) + self.start, self.size)
                self._check_packing(info)
                return self._unpacked(stream)

    def _mapped(self, offset: int, held: int) -> np.ndarray:
        if self.size > held:
            raise ValueError(f"it declares {self.size:,} bytes and holds {held:,}")
        order = "F" if self.fortran else "C"
        if self.size == 0:
            return np.empty(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", offset, self.shape, order)  # type: ignore[call-overload]

    def _check_packing(self, info: zipfile.ZipInfo) -> None:
        """Refuse what would fill the memory, before any is asked for."""
        if self.size > _LARGE and self.size > _PACKED * info.compress_size:
            raise ValueError(
                f"'{self.member}' unpacks {info.compress_size / 1e6:,.0f} MB to {self.size / 1e9:,.0f} GB, as no "
                "images do; if they are blank indeed, write them with numpy.savez"
            )
        if self.size > (free := free_memory()):
            raise ValueError(
                f"'{self.member}' needs {self.size / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; write it "
                "with numpy.save or numpy.savez, which are read from the disk"
            )

    def _unpacked(self, stream: IO[bytes]) -> np.ndarray:
        stream.read(self.start)
        out = np.empty(self.shape, self.dtype, order="F" if self.fortran else "C")
        view = out.reshape(-1, order="A").view(np.uint8).data
        place = 0
        while place < self.size:
            piece = stream.read(min(_CHUNK, self.size - place))
            if not piece:
                raise EOFError("truncated")
            view[place : place + len(piece)] = piece
            place += len(piece)
        stream.read(1)  # the end is where the archive's checksum is compared
        return out


def arrays_in(path: Path) -> tuple[dict[str, Array], list[str]]:
    """Read the headers of the arrays in a file.

    Args:
        path: an .npy file, whose array is called ``images``, or an .npz file.

    Returns:
        The arrays by name, and the names of members that are no arrays.

    Raises:
        ValueError, EOFError: damaged.
        zipfile.BadZipFile: no archive.
    """
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            return {"images": _header(path, stream, "")}, []
    found, others = {}, []
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as stream:
                    found[member[:-4]] = _header(path, stream, member)
            else:
                others.append(member)
    return found, others


def _header(path: Path, stream: IO[bytes], member: str) -> Array:
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array file of version {version[0]}.{version[1]}; 1.0 and 2.0 are read")
    readers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = readers[version[0]](stream)
    if any(side < 0 for side in shape):
        raise ValueError(f"it declares the shape {list(shape)}")
    return Array(path=path, shape=shape, dtype=dtype, fortran=fortran, start=stream.tell(), member=member)


def _data_of(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin in the archive: after its local header, whose names may differ in length."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        lengths = file.read(4)
    return info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
