"""Files: whole or not at all; and no source line that could run what a file says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import clsp
from clsp import files
from clsp.engine.pixels import Pixels

SOURCES = sorted(Path(clsp.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize(("fault", "message"), [("write:1:enospc", "No space"), ("write:1:eio", "Input/output")])
def test_the_old_file_stays_when_the_disk_fails(tmp_path, monkeypatch, fault, message):
    files.write_text(tmp_path / "a", "old")
    monkeypatch.setenv("CLSP_FAULT", fault)
    with pytest.raises(OSError, match=message):
        files.write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    files.write_text(tmp_path / "a", "new")  # the fault strikes once
    assert (tmp_path / "a").read_text() == "new"


def test_the_old_file_stays_when_the_writer_fails(tmp_path):
    files.write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), files.atomic(tmp_path / "a") as file:
        file.write(b"half")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old"
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a", {"x": float("nan")})
    assert (tmp_path / "a").read_text() == "old"


def test_arrays_come_back_and_objects_are_neither_written_nor_read(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (3, 4), dtype=np.uint8)
    files.write_array(tmp_path / "a.npy", array)
    assert np.array_equal(files.read_array(tmp_path / "a.npy"), array)
    assert np.array_equal(files.read_array(tmp_path / "a.npy", mapped=True), array)
    objects = np.array([{}, "x"], dtype=object)
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        files.write_array(tmp_path / "a.npy", objects)
    assert np.array_equal(files.read_array(tmp_path / "a.npy"), array)
    np.save(tmp_path / "b.npy", objects, allow_pickle=True)
    for mapped in (False, True):
        with pytest.raises(ValueError):
            files.read_array(tmp_path / "b.npy", mapped=mapped)


def test_a_torn_last_line_of_a_log_is_left_out(tmp_path):
    files.append_jsonl(tmp_path / "log", [{"step": number} for number in range(3)], durable=True)
    with (tmp_path / "log").open("a") as log:
        log.write('{"step": 3, "lo')
    assert files.read_jsonl(tmp_path / "log") == [{"step": 0}, {"step": 1}, {"step": 2}]
    assert files.read_jsonl(tmp_path / "none") == []


def test_fingerprints_tell_values_apart_and_not_orders_of_keys():
    assert files.fingerprint({"a": 1, "b": 2}) == files.fingerprint({"b": 2, "a": 1})
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": 2})


@pytest.mark.parametrize(
    "forbidden",
    [
        r"import (c?pickle|dill|joblib|shelve|marshal)\b",
        r"from (c?pickle|dill|joblib|shelve|marshal)\b",
        r"\bpickle\.",
        r"torch\.load\(",
        r"yaml\.(unsafe_|full_)?load\(",
        r"(?<![.\w])eval\(",
        r"(?<![.\w])exec\(",
        r"allow_pickle\s*=\s*True",
        r"\bextractall\(",
        r"trust_remote_code\s*=\s*True",
        r"shell\s*=\s*True",
        r"\bos\.system\(",
    ],
)
def test_no_source_line_runs_what_a_file_says(forbidden):
    lines = [(path, line) for path in SOURCES for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 3000
    assert [f"{path.name}: {line}" for path, line in lines if re.search(forbidden, line)] == []


def _resident(path) -> int:
    """Bytes of the file ``path`` that are mapped and count as this process's memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    return sum(
        next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) * 1024
        for line in lines
        if line.endswith(str(path))
    )


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's account of memory")
def test_memory_stays_flat_while_a_mapped_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "images.npy"
    np.save(path, np.arange(16_000_000, dtype=np.uint32).astype(np.uint8).reshape(-1, 1, 40, 40))
    mapped = files.read_array(path, mapped=True)
    plain = int(mapped[:].sum())
    assert _resident(path) > 15_000_000  # the measurement sees what is read
    monkeypatch.setattr(Pixels, "LIMIT", 0)
    pixels, total = Pixels(mapped).to(torch.device("cpu")), 0
    for rows in torch.arange(len(mapped)).split(1000):
        total += int(pixels[rows].sum())
        assert _resident(path) < 1_000_000
    assert total == plain
    files.release(np.zeros(3))  # nothing to give back


@pytest.mark.parametrize("mapped", [False, True])
def test_rows_are_taken_in_the_order_they_were_asked_for(tmp_path, mapped):
    whole = np.arange(3 * 1500, dtype=np.int32).reshape(1500, 3)
    np.save(tmp_path / "a.npy", whole)
    array = files.read_array(tmp_path / "a.npy", mapped=mapped)
    rows = np.random.default_rng(0).integers(0, 1500, 1300)
    taken = files.take(array, rows)
    assert taken.dtype == whole.dtype
    assert np.array_equal(taken, whole[rows])
    assert files.take(array, rows[:0]).shape == (0, 3)


@pytest.mark.parametrize("mapped", [False, True])
def test_lazy_rows_are_those_of_a_copy_also_rows_of_rows(tmp_path, mapped):
    whole = np.arange(3 * 500, dtype=np.int32).reshape(500, 3)
    np.save(tmp_path / "a.npy", whole)
    array = files.read_array(tmp_path / "a.npy", mapped=mapped)
    rng = np.random.default_rng(0)
    rows, places = rng.integers(0, 500, 300), rng.integers(0, 300, (90, 2))
    lazy, copy = files.Rows(array, rows), whole[rows]
    assert (len(lazy), lazy.shape, lazy.dtype) == (300, copy.shape, copy.dtype)
    assert np.array_equal(lazy, copy)
    for asked in (slice(10, 200), slice(290, 400), copy[:, 0] % 2 == 0, places[:, 0]):
        assert np.array_equal(lazy[asked], copy[asked])
    assert np.array_equal(files.take(lazy, places), copy[places])
    assert np.array_equal(files.Rows(lazy, places[:, 1])[5:70], copy[places[:, 1]][5:70])


def test_what_is_there_already_is_not_written_again(tmp_path):
    files.write_changed(tmp_path / "a", b"one")
    made = (tmp_path / "a").stat().st_ino
    files.write_changed(tmp_path / "a", b"one")
    assert (tmp_path / "a").stat().st_ino == made
    files.write_changed(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
