"""Two processes of one machine make what one makes: a run, a comparison, a training."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from clsp import distributed, files
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import launch
from clsp.errors import UserError
from launched import TWO, clsp


def said(done):
    """What a command printed, less what torch's processes of some versions say there of each other."""
    return [line for line in done.stdout.splitlines() if "peer ranks" not in line]


def test_a_run_of_two_processes_ends_and_is_not_done_twice(tmp_path):
    command = ["run", "--data", "digits", "--out", tmp_path / "run", "--method", "swav", *TWO]
    first, second = clsp(*command), clsp(*command)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert said(first) == said(second) and "swav+bank" in first.stdout
    cell = "arms/swav+bank/seed-0"
    for stage in ("diffusion", "positives", cell, f"{cell}/evaluation", "evaluation"):
        assert files.read_json(tmp_path / "run" / stage / "stage.json")["status"] == "finished"
    assert "steps done" in first.stderr and "steps done" not in second.stderr
    assert second.stderr.count("done before") == 5


def test_a_comparison_of_two_processes_ends_and_is_not_done_twice(tmp_path):
    command = ["compare", "--data", "digits", "--out", tmp_path / "grid", "--methods", "simclr", "--seeds", "2", *TWO]
    first, second = clsp(*command), clsp(*command)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert said(first) == said(second) and first.stdout.count("simclr  2  ") == 1
    for seed in (0, 1):
        evaluation = tmp_path / "grid" / "arms" / "simclr" / f"seed-{seed}" / "evaluation"
        assert files.read_json(evaluation / "metrics.json")["linear"]["top1"] > 10
    assert second.stderr.count("done before") == 5


def test_processes_whose_clocks_differ_save_together_and_a_batch_script_starts_them_without_srun(tmp_path):
    """One that found a checkpoint due before the other did would wait for it for ever. SLURM's variables are there."""
    command = ["pretrain", "--data", "digits", *TWO, "--epochs", "30", "--checkpoint_minutes", "0.002"]
    slurm = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "1"}
    done = clsp(*command, "--out", tmp_path / "encoder", **slurm)
    assert done.returncode == 0, done.stderr
    facts = files.read_json(tmp_path / "encoder/stage.json")["facts"]
    alone = clsp(*command[:3], "--recipe", "smoke", "--epochs", "30", "--out", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    assert facts["steps"] == files.read_json(tmp_path / "alone/stage.json")["facts"]["steps"] == 60
    assert facts["flops"] == pytest.approx(files.read_json(tmp_path / "alone/stage.json")["facts"]["flops"], rel=0.01)


def test_two_processes_draw_the_views_of_positives_that_are_no_negatives(tmp_path):
    """Whose positive is whose they tell each other, also for the picture of the views, which one of them writes."""
    for number in range(48):
        path = tmp_path / "films" / str(number // 12) / f"{number % 12:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (16, 16), dtype=np.uint8)).save(path)
    where = ["--data", tmp_path / "films", "--images.labels", "none", "--out", tmp_path / "encoder"]
    done = clsp("pretrain", *where, "--positives", "frames", "--epochs", "1", *TWO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("encoder:") == 1  # what was found is told once
    assert (tmp_path / "encoder" / "views.png").is_file()


def test_two_devices_from_a_pipe_are_refused_in_a_line(monkeypatch):
    """They would be started by running the same program again, and there is none."""
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", None)
    monkeypatch.setattr(main, "__file__", "<stdin>", raising=False)
    with pytest.raises(UserError, match="put the code into a script and run 'python ") as error:
        launch(HardwareConfig(accelerator="cpu", devices=2))
    assert "\n" not in str(error.value)
    assert not distributed.active()
