"""The boundary to foreign files: whatever lies there, one line names it, says what is wrong and what to do."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

import numpy as np
import pytest
from safetensors.torch import save_file

from clsp import files
from clsp.errors import UserError
from clsp.files import proof


@dataclass(frozen=True)
class Thing:
    step: int
    name: str


def refused(words, read, path, *arguments, **options):
    with pytest.raises(UserError, match=words) as error:
        read(path, *arguments, **options)
    line = str(error.value)
    assert str(path) in line
    assert "; " in line
    assert len(line) < 2000
    assert len(line.splitlines()) == 1


READ = {"json": files.read_json, "yaml": files.read_yaml, "array": files.read_array, "tensors": files.read_tensors,
        "text": files.read_text, "bytes": files.read_bytes}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("what", ["missing", "folder", "pipe", "name", "unreadable"])
def test_what_is_no_file(tmp_path, kind, what):
    path, words = tmp_path / "x", what
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
        words = "no regular file"
    elif what == "name":
        path, words = tmp_path / ("n" * 300), "too long"
    elif what == "unreadable":
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        path.write_bytes(b"{}")
        path.chmod(0)
        words = "denied"
    else:
        words = "no such file"
    refused(words, READ[kind], path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no valid JSON"),
        (b'{"step": 1', "no valid JSON"),
        (b"\xff\xfe{", "no UTF-8"),
        (b'{"step": NaN, "name": "x"}', "nan"),
        (b'{"step": 1e999, "name": "x"}', "inf"),
        (b'{"step": 99999999999999999999999, "name": "x"}', "64 bits"),
        (b'{"step": ' + b"9" * 5000 + b"}", "JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
        (b"[" * 100 + b"]" * 100, "64 levels"),
        (b'{"step": 1}', "name: Field required"),
        (b'{"step": "one", "name": "x"}', "step: Input should be a valid integer"),
        (b'[{"step": 1}]', "dictionary"),
    ],
)
def test_json_that_is_none_or_something_else(tmp_path, text, words):
    (tmp_path / "x.json").write_bytes(text)
    refused(words, files.read_json, tmp_path / "x.json", Thing)


def test_json_is_read_as_what_it_is_to_be(tmp_path):
    files.write_json(tmp_path / "x.json", {"step": 1, "name": "x", "more": [1]})
    assert files.read_json(tmp_path / "x.json", Thing) == Thing(1, "x")
    assert files.read_json(tmp_path / "x.json")["more"] == [1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [*x]", "holds itself"),
        ("a: 2020-01-01", "date"),
        ("a: !!binary aGk=", "bytes"),
        ("1: 2", "'1' is no text"),
        ("- 1", "mapping"),
        ("a: [", "no valid YAML"),
        ("a: !!python/name:os.system x", "no valid YAML"),
        ("".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 1}]\n" for n in range(40)), "aliases"),
    ],
)
def test_yaml_that_no_recipe_is(tmp_path, text, words):
    (tmp_path / "x.yaml").write_text(text)
    refused(words, files.read_yaml, tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("(-3,)", "shape"),
        ("(10, 10)", "its header says"),
        ("(10**9,)", "malformed"),
        ("(99999999999999,)", "header says"),
    ],
)
def test_an_array_whose_header_lies_is_refused_before_memory_is_asked_for(tmp_path, said, words):
    np.save(tmp_path / "x.npy", np.zeros(3, np.uint8))
    data = (tmp_path / "x.npy").read_bytes()
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {said}, }}".encode().ljust(len(data) - 14) + b"\n"
    (tmp_path / "x.npy").write_bytes(data[:10] + header + data[-3:])
    for mapped in (False, True):
        refused(words, files.read_array, tmp_path / "x.npy", mapped=mapped)


def test_a_torn_line_is_left_out_at_the_end_alone(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n{"step": 2, "lo\n{"step": 3}\n{"st')
    with pytest.raises(UserError, match=rf"{log}, line 2,"):
        files.read_jsonl(log)
    log.write_text('{"step": 1}\n{"st')
    assert files.read_jsonl(log) == [{"step": 1}]
    log.write_bytes(b"\x00\xff\n")
    with pytest.raises(UserError, match="line 1"):
        files.read_jsonl(log)


def test_lines_of_a_log_are_on_the_disk_where_that_is_asked_for(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_size))
    files.append_jsonl(tmp_path / "log", [{"step": 1}])
    assert flushed == []
    files.append_jsonl(tmp_path / "log", [], durable=True)  # of lines that nobody waited for, too
    assert flushed[0] == len('{"step": 1}\n')


def test_an_error_of_a_library_in_rust_is_one_line_and_a_stop_passes(tmp_path):
    class PanicException(BaseException):
        pass

    def read(path, error):
        with files.foreign(path):
            raise error

    refused("a panic", read, tmp_path, PanicException("a panic\nof two lines"))
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, KeyboardInterrupt())
    own = UserError("said before")
    with pytest.raises(UserError) as error:
        read(tmp_path, own)
    assert error.value is own


# --- hashes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path):
    """A folder whose ledger lists an array and a text."""
    files.write_array(tmp_path / "x.npy", np.arange(5000))
    files.write_text(tmp_path / "below" / "x.txt", "text")
    made = files.entries(tmp_path, ["*.npy", "below/*"])
    files.write_json(tmp_path / files.SEAL, files.sealed({"files": made}))
    return tmp_path


def test_a_changed_file_is_refused_however_it_is_read(sealed):
    assert files.read_text(sealed / "below" / "x.txt") == "text"
    (sealed / "below" / "x.txt").write_text("test")
    refused(r"changed or damaged.*clsp verify .*below --repair", files.read_text, sealed / "below" / "x.txt")
    (sealed / "below" / "x.txt").write_text("texts")
    refused("5 bytes, and was made with 4", files.read_bytes, sealed / "below" / "x.txt")
    files.write_array(sealed / "x.npy", np.arange(1, 5001))
    refused("changed or damaged", files.read_array, sealed / "x.npy", mapped=True)


def test_a_large_mapped_file_is_compared_in_the_background(sealed, monkeypatch):
    monkeypatch.setattr(proof, "_AT_ONCE", 100)
    files.read_array(sealed / "x.npy", mapped=True)
    files.settle()
    files.write_array(sealed / "x.npy", np.arange(1, 5001))
    files.read_array(sealed / "x.npy", mapped=True)
    with pytest.raises(UserError, match=r"x.npy cannot be used .*changed or damaged"):
        files.settle()
    files.settle()  # it was told
    files.stop_if_damaged()


def test_a_file_is_compared_once_and_again_when_it_is_another(sealed, monkeypatch):
    counted = []
    monkeypatch.setattr(proof, "file_hash", lambda path: counted.append(path) or files.file_hash(path))
    for _ in range(3):
        files.read_array(sealed / "x.npy")
    assert len(counted) == 1
    os.utime(sealed / "x.npy", ns=(1, 1))
    files.read_array(sealed / "x.npy")
    assert len(counted) == 2


def test_a_ledger_that_was_changed_is_refused(sealed):
    record = files.read_json(sealed / files.SEAL)
    record["files"]["x.npy"]["size"] += 1
    files.write_json(sealed / files.SEAL, record)
    with pytest.raises(UserError, match=rf"{files.SEAL} cannot be read .it was changed or damaged"):
        files.read_array(sealed / "x.npy")


def test_safetensors_of_others_are_read(tmp_path):
    import torch

    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    assert files.read_tensors(tmp_path / "w.safetensors")[0]["w"].tolist() == [1.0, 1.0]
    assert files.read_header(tmp_path / "w.safetensors") == ["w"]


def test_a_file_is_not_to_blame_for_too_little_memory(tmp_path):
    with pytest.raises(UserError, match=r"Cannot allocate memory\); make some memory free$"), files.foreign(tmp_path):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
