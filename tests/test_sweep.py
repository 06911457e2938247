"""Small runs that die: at fault points, with the power, because another process died; nothing is lost, nobody waits.

The long form is `python experiments/sweep.py`, its result studies/sweep.
"""

from __future__ import annotations

import os
import shutil
import signal

import chains
import crashes
import pytest
from crashes import MODES, Disk, attempt

from clsp import faults, files
from clsp.cli.main import dispatch
from clsp.engine import watch
from clsp.errors import UserError

NUMBERS = {0: "run", 41: "pretrain with one bank, then another", 27: "synthesize by two"}
"""Some of the long sweep's."""
SMALL, TWO = chains.SMALL, chains.TWO


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    made = chains.Sweep(dispatch, tmp_path_factory.mktemp("sweep"))
    made.prepare(NUMBERS.values())
    return made


@pytest.mark.parametrize("number", NUMBERS, ids=NUMBERS.values())
def test_what_died_again_and_again_has_the_bytes_of_what_nothing_interrupted(sweep, number):
    chain = sweep.chain(number, NUMBERS[number])
    assert (chain.lost, chain.wrong) == ([], [])
    assert chain.faults


# --- the power -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_the_power_takes_what_was_not_flushed_and_nothing_else(tmp_path, monkeypatch, mode):
    """A simulation that loses nothing would show nothing."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_text("old")
    disk = Disk(root, tmp_path / "memory")
    disk.begin()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    files.write_text(root / "deep" / "er" / "kept", "kept")
    files.append_jsonl(root / "log", [{"step": 1}], durable=True)
    files.append_jsonl(root / "log", [{"step": 2}])
    (root / "old").write_text("newer")
    (root / "new").write_text("new.")
    disk.lose(mode)
    found = {path.name: path.read_text() for path in root.rglob("*") if path.is_file()}
    log = '{"step": 1}\n'
    assert found.pop("kept") == "kept"
    torn = {"old": "ne", "log": log + '{"step', "new": "ne"}
    assert (
        found
        == {
            MODES[0]: {"old": "old", "log": log},
            MODES[1]: {"old": "old", "log": log, "new": ""},
            MODES[2]: torn,
        }[mode]
    )
    assert files.read_jsonl(root / "log") == [{"step": 1}]


@pytest.mark.parametrize("wanted", ["abc", "write:x:kill", "write:1:explode", "nowhere:1:kill"])
def test_a_fault_that_cannot_be_read_is_refused_in_a_line(monkeypatch, wanted):
    monkeypatch.setenv("CLSP_FAULT", wanted)
    with pytest.raises(UserError, match=f"{wanted}.*POINT:N:KIND.*unset it") as error:
        faults.point("write")
    assert "\n" not in str(error.value)


# --- a process that dies ends the others -----------------------------------------------------------------------------

PAIRS = {
    "diffusion model": (("diffusion", *SMALL, "--out", "root/out"), "step:2:kill"),
    "synthetic positives": (chains.SUBJECTS["synthesize by two"].words, "shard:1:kill"),
    "encoder simclr": (("pretrain", *SMALL, "--positives", "view", "--out", "root/out"), "step:1:kill"),
    "evaluation": (("compare", *SMALL, "--methods", "simclr", "--seeds", "1", "--out", "root/out"), "measure:1:kill"),
}


def died(sweep, tmp_path, stage, victim, fault=None):
    words, usual = PAIRS[stage]
    place = sweep.place(f"pair {stage}")
    end = attempt(dispatch, (*words, *TWO), place, processes=2, victim=victim, fault=fault or usual, limit=60)
    return end, [line for line in end.said.splitlines() if line.startswith("clsp: error:")]


@pytest.mark.parametrize(
    ("stage", "victim"),
    [("diffusion model", 1), ("synthetic positives", 0), ("synthetic positives", 1), ("encoder simclr", 0),
     ("evaluation", 0)],
)  # fmt: skip
def test_a_process_that_dies_ends_the_other_which_says_so_in_a_line(sweep, tmp_path, stage, victim):
    """As srun starts them: nobody watches them."""
    end, lines = died(sweep, tmp_path, stage, victim)
    assert end.statuses[victim] == -signal.SIGKILL
    assert end.statuses[1 - victim] == 1, end.said
    (line,) = lines
    assert f"process {victim} of 2 (pid " in line
    assert f"in stage '{stage}" in line and "died; the other processes end; the same command goes on" in line


def test_a_process_that_fails_alone_ends_the_other_and_the_reason_is_said(sweep, tmp_path):
    end, lines = died(sweep, tmp_path, "synthetic positives", 1, "shard:1:eio")
    assert end.statuses[1] == 2 and end.statuses[0] == 1
    (line,) = lines
    assert "process 1 of 2" in line and "Input/output error" in line
    assert "Traceback" not in end.said


def test_a_process_that_stops_answering_is_ended_with_the_others(sweep, monkeypatch):
    """SIGSTOP leaves its connections open; it would hold its memory and its folder for ever."""
    monkeypatch.setattr(watch, "SILENCE", 1.5)
    monkeypatch.setattr(watch, "BEAT", 0.3)
    monkeypatch.setattr(faults, "point", lambda name: name == "shard" and os.kill(os.getpid(), signal.SIGSTOP))
    live = crashes._live
    only = lambda call, words, folder, said, variables, disk: (  # noqa: E731
        monkeypatch.setattr(faults, "point", lambda name: None) if variables["RANK"] == "0" else None,
        live(call, words, folder, said, variables, disk),
    )
    monkeypatch.setattr(crashes, "_live", only)
    words = (*PAIRS["synthetic positives"][0], *TWO)
    end = attempt(dispatch, words, sweep.place("stopped"), processes=2, victim=1, limit=60)
    assert end.statuses == [1, -signal.SIGKILL], end.said
    assert end.said.count("clsp: error:") == 1
    assert "process 1 of 2" in end.said and "has not answered for 2 s" in end.said


# --- two processes make what one makes -------------------------------------------------------------------------------


def test_a_bank_of_two_processes_has_the_bytes_of_that_of_one(sweep):
    one, two = chains.contents(sweep.work / "bank"), sweep.golden["synthesize by two"]
    names = {name for name in one if name.endswith(".npy") or name in ("manifest.json", "sheet.png")}
    assert len(names) == 3 + 3
    assert {name for name in names if one[name] != two[name]} == set()


def test_an_evaluation_by_two_processes_has_the_bytes_of_that_by_one(sweep):
    place = sweep.place("evaluation")
    made = shutil.copytree(sweep.work / "warm", place / "root" / "out")
    before = chains.contents(made)
    for folder in (made / "evaluation", *made.glob("arms/*/seed-0/evaluation")):
        shutil.rmtree(folder)
    end = attempt(dispatch, (*chains.SUBJECTS["run"].words, *TWO), place, processes=2)
    assert end.statuses == [0, 0], end.said
    assert end.said.count("done before") == 3
    after = chains.contents(made)
    told = {"recipe.yaml", "checksums.json"}  # they name the command
    assert {name for name in before if before[name] != after.get(name)} <= told
