"""A training's folder that was moved or copied goes on, and what lies in it speaks of itself alone."""

from __future__ import annotations

import runpy
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from clsp.engine.hardware import HardwareConfig
from clsp.evaluation.evaluators.linear import at_edge
from clsp.training.pretrain import pretrain

CPU = HardwareConfig(accelerator="cpu")


def test_a_folder_that_was_moved_in_the_middle_goes_on_and_its_snippet_reads_its_own_weights(
    make_images, tiny_pretrain, tmp_path, monkeypatch
):
    def train(name):
        return pretrain(make_images(), tiny_pretrain(checkpoint_minutes=0), CPU, seed=0, folder=tmp_path / name)

    train("straight")
    monkeypatch.setenv("CLSP_FAULT", "step:5:eio")
    with pytest.raises(OSError, match="Input/output"):
        train("here")
    monkeypatch.delenv("CLSP_FAULT")
    (tmp_path / "here").rename(tmp_path / "else where")
    assert train("else where").finished and not (tmp_path / "here").exists()
    one, two = (load_file(tmp_path / name / "encoder.safetensors") for name in ("straight", "else where"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    for path in (path for path in (tmp_path / "else where").rglob("*") if path.is_file()):
        assert str(tmp_path).encode() not in path.read_bytes(), path
    shutil.copytree(tmp_path / "else where", tmp_path / "copy")
    save_file({name: value + 1 for name, value in two.items()}, tmp_path / "else where/encoder.safetensors")
    loaded = runpy.run_path(str(tmp_path / "copy/snippet.py"))["model"].state_dict()
    assert all(torch.equal(loaded[name], two[name]) for name in two)


@pytest.mark.parametrize(("chosen", "word"), [(0.1, "smallest"), (10.0, "largest"), (1.0, None)])
def test_a_c_at_an_end_of_what_was_tried_is_said(chosen, word):
    told = at_edge(chosen, [10.0, 0.1, 1.0])
    assert (told is None) == (word is None)
    assert told is None or f"is the {word} of --evaluate.regularisation [0.1, 1.0, 10.0]" in told


def test_of_a_single_c_there_is_no_edge():
    assert at_edge(1.0, [1.0]) is None
