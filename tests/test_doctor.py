"""``clsp doctor`` and ``clsp --version``: what is told is what is here, and what stops a run is found."""

from __future__ import annotations

import platform
import shutil
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from clsp import doctor
from clsp.cli.main import dispatch


def test_the_version_names_what_decides_numbers_in_one_line(capsys):
    assert dispatch(["--version"]) == 0
    told = capsys.readouterr().out
    assert told.count("\n") == 1 and told.startswith("clsp ")
    assert f"Python {platform.python_version()}" in told
    for package in ("torch", "lightning", "timm", "diffusers"):
        assert f"{package} {metadata.version(package)}" in told


def test_all_that_is_here_is_told_and_nothing_stops_a_run(capsys):
    assert dispatch(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = dict(line.split(None, 1) for line in lines if len(line.split(None, 1)) == 2)
    assert told["torch"] == metadata.version("torch")
    for name in ("CPU", "GPU", "cores", "threads", "memory", "cache"):
        assert name in told
    assert sum(line.startswith("data ") for line in lines) == 4
    assert lines[-1] == "verdict: nothing found that stops a run"


@pytest.mark.parametrize(
    ("who", "asked", "words"),
    [
        ("clsp", "torch>=99", "clsp needs torch>=99, and "),
        ("clsp", "no-such-package>=1", "and none is here: pip install 'no-such-package>=1'"),
        ("torchvision", "torch==0.1", "torchvision needs torch==0.1"),
    ],
)
def test_a_version_that_does_not_fit_stops_a_run(monkeypatch, capsys, who, asked, words):
    real = doctor._requirements
    monkeypatch.setattr(doctor, "_requirements", lambda name: [Requirement(asked)] if name == who else real(name))
    assert dispatch(["doctor"]) == 1
    told = capsys.readouterr().out
    assert f"stops:   {who} needs" in told and words in told
    assert "verdict: 1 thing found that stops a run" in told


def test_an_extra_that_is_missing_is_told_with_its_command(monkeypatch):
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "onnxscript" else real(name))
    told = dict(doctor._extras())
    assert told["onnx"] == "missing onnxscript: pip install 'clsp[onnx]'"
    assert not {"test", "docs", "dev"} & set(told)


def test_a_full_disk_and_a_folder_that_cannot_be_written_to_are_warned_of(monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    assert any("are free on the disk" in line for line in doctor.examine().warnings)
    monkeypatch.setattr(doctor.os, "access", lambda place, mode: False)
    assert any("choose an --out elsewhere" in line for line in doctor.examine().warnings)


def test_options_are_refused(capsys):
    assert dispatch(["doctor", "--data", "x"]) == 2
    assert "takes no options" in capsys.readouterr().err
