"""Names of files are foreign text: on a terminal, in a file of text, in a spreadsheet, in a shell."""

import csv
import io
import os
import subprocess

import numpy as np
import pytest
import torch

from clsp import console, files
from clsp.cli.main import dispatch
from clsp.evaluation.pairs import MinedPairs
from clsp.images.imageset import Images, Split
from clsp.positives.sources.pairs import read_pairs
from clsp.study.record import command_line, describe
from clsp.text import cell, portable, quoted, shown

NAMES = (
    "plain.png",
    "caf\u00e9 \u65e5\u672c.png",
    os.fsdecode(b"caf\xe9.png"),  # Latin-1, from an old archive
    "red\x1b[31m.png",
    "two\nlines.png",
    "\u202egnp.exe",
    "=1+1.png",
    "-x.png",
    "@x.png",
    "\tx.png",
    "+x.png",
    "it's \\.png",
)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_steers_a_terminal(name, capsys):
    console.say(f"images: {name}")
    console.result(f"{name}\nsecond line")
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert told.out.endswith("\nsecond line\n")
    for text in (told.err, told.out):
        text.encode()
        assert not set(text) & set("\x1b\x07\r\t\u202e")
    assert shown(name) == name or "\\" in shown(name)


def test_what_is_shown():
    assert shown("\x1b[31m\n\u202ea\u00e9") == "\\x1b[31m\\n\\u202ea\u00e9"
    assert shown(os.fsdecode(b"caf\xe9")) == "caf\\xe9"
    assert shown("\U0001f469\u200d\U0001f52c\u00a0x") == "\U0001f469\u200d\U0001f52c\u00a0x"  # letters that are joined


def test_an_error_is_one_line_that_steers_nothing(capsys):
    assert dispatch(["check", "--data", "no\x1b[2Jwhere\n\x07"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "\\x1b[2Jwhere" in told


def test_files_of_text_are_utf8(tmp_path):
    for name in (*NAMES, "half \ud800"):
        files.write_text(tmp_path / "x.txt", name)
        assert (tmp_path / "x.txt").read_bytes().decode() == portable(name)
        files.write_json(tmp_path / "x.json", {"name": name})
        assert files.read_json(tmp_path / "x.json") == {"name": name}
    assert portable(os.fsdecode(b"caf\xe9")) == "caf\\xe9"


def test_cells():
    assert [cell(text) for text in ("=1", "+a", "-a", "@a", "\ta", "\ra")] == [
        "'=1",
        "'+a",
        "'-a",
        "'@a",
        "'\ta",
        "'\ra",
    ]
    assert [cell(text) for text in ("-0.5", "+1e-3", "-inf", "a=1", "")] == ["-0.5", "+1e-3", "-inf", "a=1", ""]


def test_pairs_of_any_names_come_back(tmp_path):
    count = len(NAMES)
    split = Split(images=np.zeros((count, 1, 4, 4), np.uint8), names=NAMES)
    places = np.array([[k, k + 1] for k in range(count - 1)])
    MinedPairs(places, np.full(count - 1, 0.98, np.float32)).save(tmp_path / "pairs.csv", split)
    text = (tmp_path / "pairs.csv").read_bytes().decode()
    assert not any(row[0][:1] in "=+-@\t" for row in csv.reader(io.StringIO(text, newline="")))
    assert read_pairs(tmp_path / "pairs.csv", NAMES).places.tolist() == places.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_command_names_the_same_file(name):
    command = command_line("run", {"data": name})
    command.encode()
    assert shown(command) == command
    word = subprocess.run(
        ["bash", "-c", f"printf %s {quoted(name)}"], check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"}
    ).stdout
    assert word == os.fsencode(name)


def test_all_notes_are_said_once_each(capsys):
    split = Split(
        images=torch.zeros(3, 1, 8, 8, dtype=torch.uint8).numpy(), names=["a", "b", "c"], labels=np.array([0, 0, -1])
    )
    describe(Images(source="x\x1b", train=split, classes=("k",), notes=("first", "second: \x1b[2J", "first")))
    assert capsys.readouterr().err.splitlines() == [
        "images: 3 train images of 1 x 8 x 8, 1 classes (1 train images without a label) from x\\x1b",
        "images: first",
        "images: second: \\x1b[2J",
    ]
