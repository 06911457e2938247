"""Work in a process that may take only so much memory, by the system's own limit: allocations fail for real."""

from __future__ import annotations

import ctypes
import multiprocessing
import resource
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clsp.engine import heap
from clsp.engine import stage as stages

_MMAP_THRESHOLD = -3


def with_memory(megabytes: int, work: Callable[[], Any]) -> Any:
    """Return what ``work`` returns in a fork that may take so much more than this process has now; pass what it raises.

    The answer must be small and picklable.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(theirs, megabytes, work))
    child.start()
    theirs.close()
    try:
        answer, error, trace = ours.recv()
    except EOFError:
        child.join(timeout=60)
        raise AssertionError(f"the process died ({child.exitcode})") from None
    child.join(timeout=60)
    if error is not None:
        raise AssertionError(f"{error}\n{trace}")
    return answer


def _answer(pipe: Any, megabytes: int, work: Callable[[], Any]) -> None:
    # What this process freed, and keeps, would be memory as well: large blocks are to be asked for anew.
    heap.keep_heap = stages.keep_heap = lambda: False
    ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 17)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        answer = (work(), None, "")
    except BaseException as error:
        answer = (None, repr(error), traceback.format_exc())
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    pipe.send(answer)
