"""The C library's heap, told to keep what is freed for the next step."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3), as <malloc.h> numbers them."""
_LARGEST = 2**31 - 1
_GROWTH = 64 << 20


def keep_heap() -> bool:
    """Let glibc serve large blocks from its heap and keep freed ones; return whether it could be told.

    By default large tensors (over 32 MB in any case) are mapped, filled with zeros by the kernel page by page, and
    unmapped when they are freed, at every step of a training; docs/speed.md has what that costs. Elsewhere than under
    glibc, and for memory on a GPU, this changes nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    values = {_MMAP_THRESHOLD: _LARGEST, _TRIM_THRESHOLD: _LARGEST, _TOP_PAD: _GROWTH}
    return sum(mallopt(parameter, value) for parameter, value in values.items()) == len(values)


def release_heap() -> None:
    """Give what the heap keeps back to the system, where glibc can."""
    if sys.platform.startswith("linux") and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
