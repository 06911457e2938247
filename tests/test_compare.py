"""``clsp compare``: killed and repeated, it ends in the table; what is finished is kept."""

from __future__ import annotations

import pytest

from clsp import files
from workshop import shared

SMALL = ("--data", "digits", "--recipe", "smoke", "--pretrain.epochs", "2", "--pretrain.predictor.hidden", "16",
         "--pretrain.nnclr.memory", "100")  # fmt: skip


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid") / "R"
    arms = ("--methods", "simclr,nnclr,simclr+bank", "--seeds", "2", "--out", folder)
    killed = shared().clsp("compare", *SMALL, *arms, fault="step:26:kill")  # 20 of the diffusion model, 4 of an arm
    assert killed.status == -9
    before = (folder / "diffusion" / "stage.json").stat().st_mtime_ns
    done = shared().clsp("compare", *SMALL, *arms)
    assert done.status == 0, done.err
    assert (folder / "diffusion" / "stage.json").stat().st_mtime_ns == before
    return folder, done


def test_the_table_has_every_arm_with_its_difference_to_the_first(grid):
    folder, done = grid
    result = files.read_json(folder / "comparison.json")
    assert [row["arm"] for row in result["arms"]] == ["simclr", "nnclr", "simclr+bank"]
    for row in result["arms"]:
        assert row["seeds"] == 2
        assert row["linear"]["low"] <= row["linear"]["mean"] <= row["linear"]["high"]
        assert row["cost"]["pretraining_flops"] > 0
        assert (row["cost"]["generator_flops"] > 0) == (row["arm"] == "simclr+bank")
        assert ("versus" in row) == (row["arm"] != "simclr")
        assert f"| {row['arm']} | 2 |" in done.out
    assert (folder / "comparison.md").read_text().startswith("| arm |")


def test_paired_differences_are_those_of_the_runs(grid):
    rows = {row["arm"]: row for row in files.read_json(grid[0] / "comparison.json")["arms"]}
    gaps = [rows["nnclr"]["runs"]["linear"][seed] - rows["simclr"]["runs"]["linear"][seed] for seed in ("0", "1")]
    assert rows["nnclr"]["versus"]["simclr"]["linear"]["mean"] == pytest.approx(sum(gaps) / 2, abs=1e-3)


def test_a_second_call_trains_nothing(grid):
    folder, done = grid
    marks = {path: path.stat().st_mtime_ns for path in folder.rglob("encoder.safetensors")}
    assert len(marks) == 6
    again = shared().clsp("compare", *SMALL, "--methods", "simclr,nnclr,simclr+bank", "--seeds", "2", "--out", folder)
    assert again.status == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in marks} == marks
    assert again.out == done.out


def test_wrong_arms_end_in_one_line(tmp_path):
    done = shared().clsp("compare", *SMALL, "--methods", "simclr,nnclt", "--out", tmp_path / "R")
    assert done.status == 2
    assert "did you mean 'nnclr'?" in done.error


def test_every_control_is_an_arm(grid, tmp_path):
    """The bank of the grid serves, so that the generator's cost is known and not paid again."""
    controls = "simclr,simclr+noise,simclr+random,simclr+nearest,simclr+class,simclr+extra"
    where = ("--positives", grid[0] / "positives", "--out", tmp_path / "R", "--seeds", "1")
    done = shared().clsp("compare", *SMALL, "--pretrain.epochs", "1", "--methods", controls, *where)
    assert done.status == 0, done.err
    rows = files.read_json(tmp_path / "R" / "comparison.json")["arms"]
    assert [row["arm"] for row in rows] == controls.split(",")
    steps = {files.read_json(path)["facts"]["steps"] for path in (tmp_path / "R" / "arms").glob("*/seed-0/stage.json")}
    assert len(steps) == 1  # with and without extra data, every arm takes the same steps
    assert {row["arm"] for row in rows if row["cost"]["generator_flops"]} == {"simclr+extra"}
    assert {row["arm"] for row in rows if row["cost"]["generator_seconds"]} == {"simclr+extra"}
