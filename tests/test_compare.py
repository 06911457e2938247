"""``clsp compare``: killed and repeated, it ends in the table; what is finished is kept."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from clsp import files
from clsp.cli.main import dispatch
from workshop import shared

SMALL = ("--data", "digits", "--recipe", "smoke", "--pretrain.epochs", "2", "--pretrain.predictor.hidden", "16")
GRID = (*SMALL, "--pretrain.nnclr.memory", "100", "--methods", "simclr,nnclr,simclr+bank", "--seeds", "2")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid") / "R"
    command = ("compare", *GRID, "--out", folder)
    killed = shared().clsp(*command, fault="step:26:kill")  # 20 of the diffusion model, 4 of an arm
    assert killed.status == -9
    before = (folder / "diffusion" / "stage.json").stat().st_mtime_ns
    done = shared().clsp(*command)
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
        assert set(row["versus"]) == {"simclr", "nnclr", "simclr+bank"} - {row["arm"]}
        assert [row["arm"], "2"] in [line.split()[:2] for line in done.out.splitlines()]
        assert f"| {row['arm']} | 2 |" in (folder / "comparison.md").read_text()
        assert set(row["runs"]) == set(result["measures"]) == {"linear", "knn", "retrieval"}
        assert row["retrieval"]["limits"] == "95 % interval over the seeds"
    page = (folder / "comparison.md").read_text()
    assert page.startswith("| arm |")
    gap = result["arms"][1]["versus"]["simclr+bank"]["knn"]
    assert f"| nnclr | {pairs_cell(result, 'nnclr', 'simclr')} |  | {gap['mean']:+.2f} (" in page


def pairs_cell(result, first, second):
    gap = next(row for row in result["arms"] if row["arm"] == first)["versus"][second]["knn"]
    return f"{gap['mean']:+.2f} ({gap['low']:+.2f} to {gap['high']:+.2f})"


def test_paired_differences_are_those_of_the_runs(grid):
    rows = {row["arm"]: row for row in files.read_json(grid[0] / "comparison.json")["arms"]}
    gaps = [rows["nnclr"]["runs"]["linear"][seed] - rows["simclr"]["runs"]["linear"][seed] for seed in ("0", "1")]
    assert rows["nnclr"]["versus"]["simclr"]["linear"]["mean"] == pytest.approx(sum(gaps) / 2, abs=1e-3)


def test_a_second_call_trains_nothing(grid):
    folder, done = grid
    marks = {path: path.stat().st_mtime_ns for path in folder.rglob("encoder.safetensors")}
    assert len(marks) == 7  # and the one that a user takes away
    again = shared().clsp("compare", *GRID, "--out", folder)
    assert again.status == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in marks} == marks
    assert again.out == done.out


def test_the_weights_of_what_was_evaluated_may_be_deleted(grid, tmp_path):
    folder, done = grid
    kept = {path: path.read_bytes() for path in folder.rglob("seed-1/encoder.safetensors")}
    assert len(kept) == 3
    for path in kept:
        path.unlink()
    again = shared().clsp("compare", *GRID, "--out", folder)
    for path, weights in kept.items():
        path.write_bytes(weights)
    assert again.status == 0, again.err
    assert again.out == done.out


def test_two_calls_at_the_same_time_share_the_work(tmp_path):
    where = ("--out", tmp_path / "R", "--methods", "simclr,byol,simclr+bank", "--seeds", "2")
    first, told = shared().begin("compare", *SMALL, *where), [shared().outputs()[1]]
    until(lambda: "arm simclr, seed 0" in read(told[0]))
    os.kill(first, signal.SIGSTOP)  # it has made the bank; however quick it is, something is left for the second
    second = shared().begin("compare", *SMALL, *where)
    told.append(shared().outputs()[1])
    until(lambda: "steps done" in read(told[1]))
    os.kill(first, signal.SIGCONT)
    until(lambda: gone(first) and gone(second))
    assert len(list((tmp_path / "R" / "arms").glob("*/seed-*/evaluation/stage.json"))) == 6
    trained = [path.read_text().count("steps done") for path in told]
    assert sum(trained) == 8  # the diffusion model, six encoders and the judge of the bank, none of them twice
    assert min(trained) > 0


def read(path):
    return path.read_text() if path.exists() else ""  # the process that writes it may not have begun


def until(condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def gone(process):
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_an_arm_that_diverges_does_not_keep_the_others_from_their_end(tmp_path):
    command = ("compare", *SMALL, "--methods", "simclr,byol,simclr+view", "--seeds", "1", "--out", tmp_path / "R")
    done = shared().clsp(*command, fault="loss:6:nan")  # 4 steps are the first arm's
    assert done.status == 2
    assert (
        "byol (seed 0) diverged: the loss term" in done.error and "All other trainings are done and kept" in done.error
    )
    states = {path.parts[-3]: files.read_json(path)["status"] for path in tmp_path.glob("R/arms/*/*/stage.json")}
    assert states == {"simclr": "finished", "byol": "interrupted", "simclr+view": "finished"}
    rest = shared().clsp("compare", *SMALL, "--methods", "simclr,simclr+view", "--seeds", "1", "--out", tmp_path / "R")
    assert rest.status == 0, rest.err
    assert [row["arm"] for row in files.read_json(tmp_path / "R/comparison.json")["arms"]] == ["simclr", "simclr+view"]


def test_wrong_arms_end_in_one_line(tmp_path):
    done = shared().clsp("compare", *SMALL, "--methods", "simclr,nnclt", "--out", tmp_path / "R")
    assert done.status == 2
    assert "did you mean 'nnclr'?" in done.error
    trimmed = ("--methods", "simclr,simclr+bank+host", "--pretrain.positive.third.trim", "0.1")
    done = shared().clsp("compare", *SMALL, *trimmed, "--out", tmp_path / "R")
    assert done.status == 2
    assert "--pretrain.positive.third.trim changes nothing in simclr, simclr+bank+host" in done.error


def test_every_control_is_an_arm(grid, tmp_path):
    """The bank of the grid serves, so that the generator's cost is known and not paid again."""
    controls = "simclr,simclr+noise,simclr+random,simclr+nearest,simclr+class,simclr+bank+host,simclr+extra,diffusion"
    where = ("--positives", grid[0] / "positives", "--out", tmp_path / "R", "--seeds", "1")
    done = shared().clsp("compare", *SMALL, "--pretrain.epochs", "1", "--methods", controls, *where)
    assert done.status == 0, done.err
    rows = files.read_json(tmp_path / "R" / "comparison.json")["arms"]
    assert [row["arm"] for row in rows] == controls.split(",")
    steps = {files.read_json(path)["facts"]["steps"] for path in (tmp_path / "R" / "arms").glob("*/seed-0/stage.json")}
    costs = {row["arm"]: row["cost"]["pretraining_flops"] for row in rows}
    assert costs["simclr+bank+host"] == costs["simclr"] < costs["simclr+random"]
    assert len(steps) == 1  # with and without extra data, every arm takes the same steps
    for cost in ("generator_flops", "generator_seconds"):
        made = {row["arm"] for row in rows if row["cost"][cost]}
        assert made == {"simclr+bank+host", "simclr+extra", "diffusion"}


def test_arms_of_an_earlier_call_stand_in_the_table_with_their_own_seeds(grid, tmp_path):
    where = ("--out", tmp_path / "R", "--pretrain.epochs", "1")
    for methods, seeds in (("simclr,byol", 2), ("simclr,simsiam", 1)):
        done = shared().clsp("compare", *SMALL, *where, "--methods", methods, "--seeds", str(seeds))
        assert done.status == 0, done.err
    rows = {row["arm"]: row for row in files.read_json(tmp_path / "R" / "comparison.json")["arms"]}
    assert {arm: row["seeds"] for arm, row in rows.items()} == {"simclr": 2, "simsiam": 1, "byol": 2}
    assert len(rows["byol"]["runs"]["linear"]) == 2
    other = shared().clsp("compare", *SMALL, *where, "--methods", "nnclr", "--seeds", "1", "--pretrain.lr", "0.01")
    assert "arm byol: 2 runs with other settings are left out" in other.err
    assert [row["arm"] for row in files.read_json(tmp_path / "R" / "comparison.json")["arms"]] == ["nnclr"]
    taken, trained = (tmp_path / "R" / place / "encoder.safetensors" for place in ("encoder", "arms/nnclr/seed-0"))
    assert taken.read_bytes() == trained.read_bytes()


@pytest.mark.parametrize(("more", "seeds"), [((), [0, 1]), (("--seed", "3"), [3, 4])])
def test_the_seeds_begin_with_the_one_that_is_given(monkeypatch, tmp_path, more, seeds):
    asked = []
    monkeypatch.setattr("clsp.study.compare.conduct", lambda *given, **how: asked.append(given[4]))
    words = ("--data", "digits", "--recipe", "smoke", "--methods", "simclr", "--seeds", "2")
    assert dispatch(["compare", *words, *more, "--out", str(tmp_path / "out")]) == 0
    assert asked == [seeds]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("compare", "--methods", "moco+bank,moco", "--controls"), "write --methods moco+bank,moco,moco+view"),
        (
            ("compare", "--methods", "simclr,byol+view", "--positives", "b"),
            "--positives b changes nothing: no arm needs",
        ),
        (("run", "--diffusion", "d", "--pretrain.positive.source", "view"), "--diffusion d changes nothing: no arm"),
    ],
)
def test_what_no_arm_would_heed_is_refused_before_anything_is_made(capsys, tmp_path, command, said):
    name, *words = command
    out = ["--out", str(tmp_path / "out")]
    assert dispatch([name, "--data", "digits", "--recipe", "smoke", *words, *out]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clsp: error:")]
    assert said in line
    assert "leave it out" in line
    assert not (tmp_path / "out").exists()


def test_controls_that_are_arms_already_may_be_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr("clsp.study.compare.conduct", lambda *given, **how: {})
    where = ["--data", "digits", "--recipe", "smoke", "--out", str(tmp_path / "out"), "--controls", "--methods"]
    assert dispatch(["compare", *where, "simclr+bank,simclr,simclr+view"]) == 0
    assert dispatch(["compare", "--data", "digits", "--out", str(tmp_path / "out"), "--methods", "simclr"]) == 0
