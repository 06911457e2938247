"""Cores: which this process may use, and which of them others keep busy. Nothing here depends on the machine's load."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from clsp import cores
from workshop import ENVIRONMENT

INFINITE = float("inf")


def groups(folder, own, **limits):
    """A tree of control groups: the text of its files by their paths, and what the process says of its own."""
    (folder / "own").write_text(own)
    for name, text in limits.items():
        path = folder / "groups" / name.replace("__", "/").replace("_max", ".max").replace("_cfs", ".cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cores.quota(folder / "groups", folder / "own")


def test_a_containers_limit_counts(tmp_path):
    assert groups(tmp_path, "0::/\n", cpu_max="150000 100000\n") == 1.5


def test_the_smallest_limit_of_all_groups_above_counts(tmp_path):
    limits = {"job__cpu_max": "200000 100000", "job__step__cpu_max": "max 100000", "other__cpu_max": "1000 100000"}
    assert groups(tmp_path, "0::/job/step\n", **limits) == 2.0


def test_limits_of_the_first_version_count(tmp_path):
    own = "3:memory:/a\n4:cpu,cpuacct:/a\n0::/\n"
    found = groups(tmp_path, own, cpu__a__cpu_cfs_quota_us="50000\n", cpu__a__cpu_cfs_period_us="100000\n")
    assert found == 0.5
    assert groups(tmp_path, own, cpu__a__cpu_cfs_quota_us="-1\n") == INFINITE


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert groups(tmp_path, "0::/\n") == INFINITE
    assert cores.quota(tmp_path, tmp_path / "nothing") == INFINITE


@pytest.mark.parametrize(("limit", "count"), [(INFINITE, 4), (2.5, 2), (0.5, 1), (64.0, 4)])
def test_usable_are_whole_cores_within_both_limits(monkeypatch, limit, count):
    monkeypatch.setattr(cores, "allowed", lambda: frozenset({1, 2, 5, 6}))
    monkeypatch.setattr(cores, "quota", lambda: limit)
    assert cores.usable() == count


ON_ONE_CORE = """
import os, subprocess, sys, threading, time
core = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {core})
from clsp import cores
assert cores.allowed() == {core} and cores.usable() == 1
other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    beside = cores.busy(0.6)
finally:
    other.kill()
    other.wait()
def work():
    while not done: pass
done = []
threading.Thread(target=work).start()
begin, own = time.perf_counter(), time.process_time()
found = cores.busy(0.6)
share = (time.process_time() - own) / (time.perf_counter() - begin)
done.append(True)
print(beside, found, share)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="binds processes to a core")
def test_other_work_on_the_own_cores_counts_and_the_own_work_does_not():
    done = subprocess.run([sys.executable, "-c", ON_ONE_CORE], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    beside, found, share = map(float, done.stdout.split())
    assert beside > 0.8  # a core that another process computes on is busy, whatever else the machine does
    assert found < 1.0 - share + 0.15  # what this process took itself is not other work
