"""The size of a JPEG XL picture, from its first bytes: its decoder asks for memory before it tells."""

from __future__ import annotations

from typing import BinaryIO

_CODESTREAM = b"\xff\x0a"
_BOXES = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
"""Width to height, by the number that stands for them."""


def size_of(stream: BinaryIO) -> tuple[int, int] | None:
    """Width and height in pixels (ISO/IEC 18181-1, size header); None where the file is no JPEG XL.

    The stream is put back to its start.
    """
    stream.seek(0)
    head = _codestream(stream)
    stream.seek(0)
    return None if not head.startswith(_CODESTREAM) or len(head) < 16 else _size(head[2:])


def _codestream(stream: BinaryIO) -> bytes:
    """The first bytes of the codestream, which lies bare or in a box."""
    start = stream.read(64)
    if not start.startswith(_BOXES):
        return start
    place = len(_BOXES)
    while True:
        stream.seek(place)
        head = stream.read(16)
        if len(head) < 8:
            return b""
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        skip = 8
        if length == 1:
            length, skip = int.from_bytes(head[8:], "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            stream.seek(place + skip + (4 if kind == b"jxlp" else 0))
            return stream.read(64)
        if length < skip:  # the last box, or damage
            return b""
        place += length


def _size(head: bytes) -> tuple[int, int]:
    bits, place = int.from_bytes(head, "little"), 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        return bits >> (place - count) & ((1 << count) - 1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    height = side()
    ratio = take(3)
    if ratio == 0:
        return side(), height
    across, down = _RATIOS[ratio]
    return height * across // down, height
