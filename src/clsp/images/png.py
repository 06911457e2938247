"""PNG files: profiles and long texts that no pixel depends on are left out, and 16-bit colour keeps its bits."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")

LONGEST = 1_000_000
"""Bytes of text that are kept: below what Pillow refuses a file for."""


def plain(stream: BinaryIO) -> BinaryIO:
    """Return a PNG without its colour profile, which is not applied, and without very long texts.

    Pillow refuses sound files whose profile is longer than 1 MB. Anything else is returned as it is, at its start.
    """
    stream.seek(0)
    if stream.read(8) != _SIGNATURE:
        stream.seek(0)
        return stream
    pieces, start, dropped = [], 0, False
    for kind, begin, length in _chunks(stream):
        if kind == b"iCCP" or (kind in _TEXTS and _long(stream, kind, begin, length)):
            pieces.append((start, begin - start))
            start, dropped = begin + length + 12, True
    if not dropped:
        stream.seek(0)
        return stream
    pieces.append((start, -1))
    kept = io.BytesIO()
    for begin, length in pieces:
        stream.seek(begin)
        kept.write(stream.read(length))
    kept.seek(0)
    return kept


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place and length of the data of each chunk; ends where the file is damaged or ends."""
    place = 8
    while True:
        stream.seek(place)
        head = stream.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], place, length
        place += length + 12


def _long(stream: BinaryIO, kind: bytes, begin: int, length: int) -> bool:
    """Whether a text is long, once it is unpacked."""
    if length > LONGEST:
        return True
    if kind == b"tEXt":
        return False
    stream.seek(begin + 8)
    data = stream.read(length)
    # The packed text is the end of the chunk; where it begins depends on the kind.
    fields = 1 if kind == b"zTXt" else 4
    parts = data.split(b"\0", fields)
    packed = parts[-1][1:] if kind == b"zTXt" else parts[-1]
    if kind == b"iTXt" and (len(parts) < 2 or not parts[1].startswith(b"\x01")):
        return False
    unpacker = zlib.decompressobj()
    try:
        return len(unpacker.decompress(packed, LONGEST + 1)) > LONGEST
    except zlib.error:
        return False


def is_deep_colour(head: bytes) -> bool:
    """Whether the first 26 bytes are of a PNG with 16 bits for each of several channels."""
    return head.startswith(_SIGNATURE) and head[24:25] == b"\x10" and head[25:26] in (b"\x02", b"\x04", b"\x06")


def read_deep(stream: BinaryIO) -> np.ndarray | None:
    """Decode a PNG with 16 bits for each of several channels, of which Pillow keeps the upper 8.

    Returns:
        uint16 [H, W, C] with C of 2 (gray and alpha), 3, or 4 (RGB and alpha); None where torchvision was built
        without its decoders.
    """
    import torch
    from torchvision.io import ImageReadMode, decode_png

    if not hasattr(torch.ops.image, "decode_png"):
        return None
    data = bytearray(plain(stream).read())
    values = decode_png(torch.frombuffer(data, dtype=torch.uint8), mode=ImageReadMode.UNCHANGED)
    return np.ascontiguousarray(values.numpy().transpose(1, 2, 0))
