"""Pairs that an encoder finds alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clsp.cli.main import dispatch
from clsp.errors import UserError
from clsp.evaluation.pairs import mine_pairs
from clsp.positives.sources.pairs import read_pairs


def at(*degrees):
    """Unit vectors in the plane."""
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack((angles.cos(), angles.sin()), dim=1)


def test_each_image_is_paired_with_its_nearest_one_within_the_bounds():
    """cos 10 = 0.985, cos 20 = 0.940; images 0 and 1 are copies."""
    found = mine_pairs(at(0.0, 0.0, 10.0, 60.0, 72.0, 180.0), 0.95, 0.99)
    assert found.places.tolist() == [[0, 2], [1, 2], [3, 4]]
    np.testing.assert_allclose(found.similarity, np.cos(np.radians([10, 10, 12])), atol=1e-6)
    assert found.agreement(np.array([0, 1, 0, 5, 5, 0])) == pytest.approx(2 / 3)
    assert found.agreement(np.array([0, -1, 0, 5, 5, 0])) == 1.0
    assert found.agreement(None) is None


def test_bounds_that_no_pair_meets_are_answered_with_what_the_data_have():
    with pytest.raises(UserError, match=r"cosine of 0.985 in half of the cases"):
        mine_pairs(at(0.0, 10.0, 90.0, 100.0), 0.2, 0.3)


def test_the_command_writes_what_pretrain_reads(tmp_path, capsys):
    encoder, pairs = tmp_path / "encoder", tmp_path / "pairs.csv"
    common = ["--data", "digits", "--recipe", "smoke"]
    assert dispatch(["pretrain", *common, "--out", str(encoder), "--epochs", "1"]) == 0
    assert dispatch(["pairs", *common, "--encoder", str(encoder), "--out", str(pairs), "--between", "0.5,0.9999"]) == 0
    told = capsys.readouterr().out
    assert "pairs of" in told and "have one label" in told
    names = [f"digits/{i:05d}" for i in range(2000)]
    assert len(read_pairs(pairs, names).places) > 10
    arm = ["--positives", "pairs", "--positive.pairs.file", str(pairs), "--positive.placement", "host"]
    assert dispatch(["pretrain", *common, "--out", str(tmp_path / "with"), "--epochs", "1", *arm]) == 0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--out", "pairs.txt"], "--out pairs.txt: pairs are written as .csv"),
        (["--out", "p.csv", "--between", "0.9"], "--between '0.9' must be two cosines"),
        (["--out", "p.csv", "--between", "0.99,0.97"], "the smaller one first"),
    ],
)
def test_wrong_calls_are_answered_in_one_line(more, told, capsys):
    assert dispatch(["pairs", "--encoder", "e", "--data", "digits", *more]) == 2
    error = capsys.readouterr().err
    assert told in error and error.startswith("clsp: error:") and error.count("\n") == 1
