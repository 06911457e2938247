"""A user works inside the folder of the images, whose names are not UTF-8: commands find the same images again."""

from __future__ import annotations

import csv
import os

import numpy as np
from PIL import Image

from clsp import files
from clsp.cli.main import dispatch
from clsp.positives.sources.pairs import read_pairs

SMALL = ("--recipe", "smoke", "--pretrain.epochs", "1", "--pretrain.batch_size", "8", "--hardware.accelerator", "cpu")


def test_from_within_and_with_foreign_names(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(tmp_path / "x.png")
        (tmp_path / "x.png").rename(tmp_path / os.fsdecode(b"=caf\xe9 %02d.png" % number))
    (tmp_path / os.fsdecode(b"bad\xe9\x1b[2J.png")).touch()
    monkeypatch.chdir(tmp_path)
    told = []
    for _ in range(2):
        assert dispatch(["pretrain", "--data", ".", *SMALL, "--out", "run"]) == 0
        told.append(capsys.readouterr().err)
    assert "images: results of clsp among the images left out: run/" in told[1]
    assert "encoder simclr: done before" in told[1]
    for text in told:
        assert text.count("1 file could not be read and is left out: bad\\xe9\\x1b[2J.png (empty file (0 bytes))") == 1
    assert files.read_json(tmp_path / "run" / "images.json")["excluded"][0]["name"] == os.fsdecode(
        b"bad\xe9\x1b[2J.png"
    )

    common = ("--encoder", "run", "--data", ".", "--recipe", "smoke")
    assert dispatch(["embed", *common, "--out", "e.csv"]) == 0
    with (tmp_path / "e.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["name", *(f"'=caf\\xe9 {number:02d}.png" for number in range(12))]
    assert dispatch(["embed", *common, "--out", "e.npz"]) == 0
    names = np.load(tmp_path / "e.npz")["names"].tolist()
    assert os.fsencode(names[3]) == b"=caf\xe9 03.png"
    assert dispatch(["pairs", *common, "--out", "p.csv", "--between=-1,1"]) == 0
    assert len(read_pairs(tmp_path / "p.csv", names).places) > 5
    assert "decoded before" in capsys.readouterr().err


def test_a_result_needs_a_name_that_libraries_can_write(capsys):
    assert dispatch(["pretrain", "--data", "digits", "--out", os.fsdecode(b"r\xe9")]) == 2
    assert capsys.readouterr().err.startswith("clsp: error: --out 'r\\xe9' is not UTF-8")
