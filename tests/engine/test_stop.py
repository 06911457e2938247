"""Signals: what is saved and said, SLURM's requeue; and a folder that is removed while a stage works in it."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest
from forks import Fork, pair_of
from test_fit import STEPS, Line, checkpoint_of, fit, log_of, trained

from clsp import files
from clsp.engine.fit import Callback
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import launch
from clsp.engine.stage import stage
from clsp.engine.stop import orderly
from clsp.errors import UserError
from clsp.methods.base import NoSettings
from clsp.positives import synthesize as drawing

NUMBERS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A job of SLURM, with a ``scontrol`` that writes down what it is asked."""
    asked = tmp_path / "asked"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/scontrol").write_text(f'#!/bin/sh\necho "$@" >> "{asked}"\n')
    (tmp_path / "bin/scontrol").chmod(0o755)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return asked


def stopped(folder, number, steps=7):
    """A training that gets a signal after some steps; its status and what it said."""
    process = Fork(trained(folder, pause=0.05))
    process.hear(steps)
    process.signal(number)
    return process.end(), process.told


@pytest.mark.parametrize(("number", "status"), NUMBERS)
def test_a_training_says_what_it_saved(tmp_path, number, status):
    found, told = stopped(tmp_path, number)
    assert found == status
    done = len(files.read_jsonl(tmp_path / "metrics.jsonl"))
    name = signal.Signals(number).name
    assert f"line: step {done} of {STEPS} is saved ({name}); the same command goes on there" in told.splitlines()


def test_sigusr1_saves_and_goes_on(tmp_path):
    process = Fork(trained(tmp_path, pause=0.05))
    process.hear(3)
    process.signal(signal.SIGUSR1)
    process.hear(2)
    assert (tmp_path / "checkpoints/last.safetensors").exists()
    assert process.end() == 0
    assert f"of {STEPS} is saved (SIGUSR1); going on" in process.told
    assert len(files.read_jsonl(tmp_path / "metrics.jsonl")) == STEPS


def test_sigusr1_under_slurm_saves_and_puts_the_job_back_into_the_queue(tmp_path, queue):
    status, told = stopped(tmp_path / "line", signal.SIGUSR1)
    assert status == 138
    assert queue.read_text() == "requeue 77\n"
    assert "is saved (SIGUSR1)" in told and "job 77 was put back into the queue" in told
    assert not [path for path in tmp_path.rglob("*") if "hpc_ckpt" in path.name]
    fit(tmp_path / "line").run(Line())  # as the requeued job does
    fit(tmp_path / "straight").run(Line())
    assert checkpoint_of(tmp_path / "line") == checkpoint_of(tmp_path / "straight")
    assert log_of(tmp_path / "line") == log_of(tmp_path / "straight")


def test_a_requeue_that_does_not_work_is_said(tmp_path, queue):
    scontrol = tmp_path / "bin/scontrol"
    scontrol.write_text("#!/bin/sh\necho 'Invalid job id' >&2\nexit 1\n")
    status, told = stopped(tmp_path / "line", signal.SIGUSR1)
    assert status == 138 and "was not put back into the queue (Invalid job id); submit it again" in told
    scontrol.unlink()
    status, told = stopped(tmp_path / "line", signal.SIGUSR1, steps=3)
    assert status == 138 and "scontrol is not in PATH; submit it again" in told


def test_an_old_checkpoint_of_lightning_is_not_read(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for place in (tmp_path, tmp_path / "checkpoints"):
        (place / "hpc_ckpt_1.ckpt").write_bytes(b"a pickle")
    fit(tmp_path).run(Line(steps=3))
    assert len(files.read_jsonl(tmp_path / "metrics.jsonl")) == 3


@pytest.mark.parametrize(
    ("number", "job", "status"), [(signal.SIGTERM, False, 143), (signal.SIGUSR1, True, 138), (signal.SIGUSR1, False, 0)]
)
def test_where_nothing_is_trained_a_signal_ends_the_command_in_order(tmp_path, queue, monkeypatch, number, job, status):
    if not job:
        monkeypatch.delenv("SLURM_JOB_ID")

    def work(fork):
        with orderly(), stage("thing", tmp_path / "thing", NoSettings(), data="abc"):
            os.kill(os.getpid(), number)
            time.sleep(0.01)

    process = Fork(work)
    assert process.end() == status
    assert signal.Signals(number).name in process.told
    record = files.read_json(tmp_path / "thing" / "stage.json")
    assert record["status"] == ("interrupted" if status else "finished")
    assert queue.exists() == job


@pytest.mark.parametrize(("at", "lost"), [(3, 2), (4, 0)])
def test_what_is_lost_of_a_bank_is_said(tmp_path, monkeypatch, make_images, tiny_diffusion, at, lost):
    """Shards of four anchors, two at a time; the signal comes while some are drawn."""
    from clsp.diffusion.training import train_diffusion
    from clsp.engine.hardware import HardwareConfig
    from clsp.positives.config import SynthesizeConfig

    images, hardware = make_images(12, None, channels=1, size=8), HardwareConfig(accelerator="cpu")
    train_diffusion(images, tiny_diffusion(steps=1), hardware, seed=0, folder=tmp_path / "model")
    config = SynthesizeConfig(candidates=1, steps=2, batch_size=2, shard_anchors=4)
    draw, drawn = drawing._draw, []

    def told_while_drawing(plan, ids):
        drawn.append(ids)
        if len(drawn) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(plan, ids)

    def bank(folder):
        return drawing.synthesize(images, tmp_path / "model", config, hardware, seed=0, folder=folder)

    with monkeypatch.context() as patch:
        patch.setattr(drawing, "_draw", told_while_drawing)
        process = Fork(lambda fork: bank(tmp_path / "bank"))
        assert process.end() == 143, process.told
    kept = 4 if lost else 8
    assert f"synthetic positives: {kept} of 12 anchors are kept" in process.told
    assert (f"{lost} more were drawn of a shard that was not finished" in process.told) == bool(lost)
    assert len(list((tmp_path / "bank").glob("shard-*.npy"))) == kept // 4
    assert bank(tmp_path / "bank").fingerprint == bank(tmp_path / "straight").fingerprint


# --- a folder that goes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_folder_that_is_removed_during_a_training_ends_it_in_a_line(tmp_path, log_every):
    class Remove(Callback):
        def on_step_end(self, training, number):
            if number == 3:
                shutil.rmtree(tmp_path / "out")
            return {}

    with (
        pytest.raises(UserError, match=r"out was removed while clsp worked in it; run the same command again") as error,
        stage("thing", tmp_path / "out", NoSettings(), data="abc"),
    ):
        fit(tmp_path / "out", callbacks=(Remove(),), log_every=log_every).run(Line())
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()  # it is not made anew


def test_a_stage_whose_folder_was_removed_is_not_finished(tmp_path):
    with (
        pytest.raises(UserError, match="was removed while clsp worked in it"),
        stage("thing", tmp_path / "out", NoSettings(), data="abc"),
    ):
        shutil.rmtree(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_process_that_dies_before_it_meets_the_others_ends_them():
    """Neither it nor a launcher says so: they see that it is gone."""

    def work(fork):
        if os.environ["RANK"] == "1":
            fork.say("here")
            time.sleep(120)
        launch(HardwareConfig(accelerator="cpu", devices=2))

    first, second = pair_of(work)
    second.hear(1)
    time.sleep(3)  # by then the first one waits, and has seen the other
    began = time.monotonic()
    second.signal(signal.SIGKILL)
    assert second.end() == -signal.SIGKILL  # it is buried, as a launcher does
    assert first.end() == 1
    assert time.monotonic() - began < 20
    (line,) = [line for line in first.told.splitlines() if line.startswith("clsp: error:")]
    assert "process 0 of 2 ends: a process beside it died" in line
