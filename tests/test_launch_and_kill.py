"""Two processes of one machine, of which one is killed: a training goes on later, and nobody is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clsp import files
from launched import TWO, clsp
from workshop import ENVIRONMENT


def test_a_training_of_two_processes_that_was_killed_goes_on_as_if_it_were_not(tmp_path):
    command = ["pretrain", "--data", "digits", "--method", "moco", "--positives", "view", *TWO]
    command += ["--checkpoint_minutes", "0", "--out"]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert clsp(*command, straight).returncode == 0
    assert clsp(*command, killed, CLSP_FAULT="step:4:kill").returncode != 0
    assert not (killed / "encoder.safetensors").exists()
    fewer = shutil.copytree(killed, tmp_path / "fewer")
    resumed = clsp(*command, killed)
    assert resumed.returncode == 0 and "continues at step" in resumed.stderr, resumed.stderr
    weights = [load_file(folder / "encoder.safetensors") for folder in (straight, killed)]
    assert [name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])] == []
    facts = [files.read_json(folder / "stage.json")["facts"] for folder in (straight, killed)]
    assert facts[0] == facts[1]
    single = ["--recipe", "smoke", "--positives", "view", "--out"]
    other = clsp(*command[:5], *single, fewer)  # one process goes on where two were
    assert other.returncode == 0 and "continues at step" in other.stderr, other.stderr
    assert (fewer / "encoder.safetensors").is_file()
    alone = clsp(*command[:5], *single, tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    assert facts[0]["flops"] == pytest.approx(
        files.read_json(tmp_path / "alone/stage.json")["facts"]["flops"], rel=0.01
    )


@pytest.mark.parametrize("victim", ["the first", "the second"])
def test_a_process_of_our_own_launch_that_is_killed_leaves_none_behind(tmp_path, victim):
    command = [sys.executable, "-m", "clsp", "diffusion", "--data", "digits", "--out", str(tmp_path), *TWO]
    with (tmp_path / "told").open("w+") as told:
        first = subprocess.Popen([*command, "--steps", "1000000"], stderr=told, env=ENVIRONMENT)
        second = 0
        try:
            wait_for(lambda: (tmp_path / "stage.json").exists(), 300)
            children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
            (second,) = (int(child) for child in children if "clsp" in Path(f"/proc/{child}/cmdline").read_text())
            os.kill(first.pid if victim == "the first" else second, signal.SIGKILL)
            status = first.wait(timeout=60)
            wait_for(lambda: not Path(f"/proc/{second}/cmdline").exists(), 60)
        finally:
            for process in filter(None, (first.pid, second)):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            first.wait()
        told.seek(0)
        (line,) = (line for line in told.read().splitlines() if line.startswith("clsp: error:"))
    rank, ended = (0, -signal.SIGKILL) if victim == "the first" else (1, 1)
    assert status == ended
    assert f"process {rank} of 2 (pid " in line and "in stage 'diffusion model' died" in line


def wait_for(what, seconds):
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.05)
