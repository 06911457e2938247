"""The heap keeps what is freed: after some steps no step touches fresh pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clsp.engine import stage as stages
from clsp.engine.heap import keep_heap
from clsp.methods.base import NoSettings

FAULTS = """
import resource
import torch
from clsp.engine.heap import keep_heap
if {keep}:
    assert keep_heap()
def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([step() for _ in range(20)][-1])
"""


def faults(*, keep: bool) -> int:
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not keep_heap(), reason="not under glibc")
def test_freed_memory_is_used_again() -> None:
    """64 MiB are 16,384 pages; without the setting they are mapped anew for every tensor."""
    assert faults(keep=True) < 100
    assert faults(keep=False) > 1000


def test_a_stage_that_works_keeps_the_heap_and_one_that_is_done_leaves_it(tmp_path, monkeypatch) -> None:
    told = []
    monkeypatch.setattr(stages, "keep_heap", lambda: told.append(True))
    for _ in range(2):
        with stages.stage("work", tmp_path, NoSettings(), data="abc"):
            pass
    assert told == [True]


NEIGHBOURS = """
import resource
import torch
from clsp.engine.heap import keep_heap
from clsp.engine.neighbours import nearest
assert keep_heap()
queries, references = torch.randn(10_000, 8), torch.randn(20_000, 8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    nearest(queries, references, 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(not keep_heap(), reason="not under glibc")
def test_exact_neighbours_leave_no_holes_in_it() -> None:
    """All similarities take 800 MB; chunks of them that come and go may not add up to that."""
    grown = subprocess.run([sys.executable, "-c", NEIGHBOURS], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 250_000
