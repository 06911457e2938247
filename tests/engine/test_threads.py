"""Threads: as many as cores are free, kept over a resume, obeyed where chosen. The load of these tests is stated."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from pretended import pretend
from safetensors.torch import load_file
from threadpoolctl import threadpool_info

from clsp import cores, files
from clsp.diffusion.training import train_diffusion
from clsp.engine import threads
from clsp.engine.hardware import HardwareConfig
from clsp.engine.stage import stage
from clsp.settings import settings
from workshop import CLEAN, SOURCE

CPU = HardwareConfig(accelerator="cpu")


@settings
class Nothing:
    """No settings."""


@pytest.fixture
def machine(monkeypatch):
    """Calls `pretend`; afterwards this process has its one thread again."""
    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    monkeypatch.setattr(threads, "_state", threads._State())

    def make(count, busy=0.0, own=None, **more):
        pretend(monkeypatch, count, busy, **more)
        torch.set_num_threads(own or count)

    yield make
    torch.set_num_threads(1)
    from threadpoolctl import threadpool_limits

    threadpool_limits(max(pools.values(), default=None), user_api="blas")


@pytest.mark.parametrize(
    ("count", "busy", "number", "line"),
    [
        (2, 0.1, 2, ""),
        (2, 0.95, 1, "2 cores, one busy with other work: one thread\n"),
        (2, 2.0, 1, "2 cores, all busy with other work: one thread\n"),
        (8, 2.6, 5, "8 cores, 3 busy with other work: 5 threads\n"),
        (1, 1.0, 1, ""),
    ],
)
def test_busy_cores_are_left_to_others(machine, capsys, count, busy, number, line):
    machine(count, busy)
    assert threads.bind().number == torch.get_num_threads() == number
    assert capsys.readouterr().err == line
    assert threads.bind().number == number  # the same again is not said again
    assert capsys.readouterr().err == ""


def test_threads_come_back_when_the_other_work_ends(machine):
    machine(4, 3.0)
    assert threads.bind().number == 1
    machine(4, 0.0, own=1)
    assert threads.bind().number == torch.get_num_threads() == 4


def test_a_containers_share_of_a_large_machine_is_heeded(machine, capsys):
    machine(64, 20.0, quota=2.0)
    assert threads.bind().number == 2  # 44 cores are free
    machine(64, 63.0, own=2, quota=2.0)
    assert threads.bind().number == 1
    assert capsys.readouterr().err == "2 cores, one busy with other work: one thread\n"


def test_linear_algebra_is_bound_as_well(machine):
    machine(4, 3.0)
    np.ones((2, 2)) @ np.ones((2, 2))
    threads.bind()
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
    with threads.limited():
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}


@pytest.mark.parametrize("name", threads._CHOSEN)
def test_a_number_in_the_environment_is_obeyed(machine, monkeypatch, capsys, name):
    machine(4, 3.0)
    monkeypatch.setenv(name, "4")
    monkeypatch.setattr(cores, "busy", lambda: pytest.fail("measured"))
    assert threads.bind().number == torch.get_num_threads() == 4
    assert capsys.readouterr().err == ""


def test_a_number_that_a_program_set_is_obeyed(machine):
    machine(4, 3.0, own=3)
    assert threads.bind().number == torch.get_num_threads() == 3


def opened(folder, **more):
    return stage("thing", folder, Nothing(), data="abc", **more)


def test_a_stage_that_goes_on_keeps_its_number(machine, tmp_path, capsys):
    machine(4, 2.0)
    with pytest.raises(KeyboardInterrupt), opened(tmp_path):
        raise KeyboardInterrupt
    assert files.read_json(tmp_path / "stage.json")["threads"] == 2
    for load in (0.0, 4.0):
        machine(4, load, own=2)
        with pytest.raises(KeyboardInterrupt), opened(tmp_path):
            assert torch.get_num_threads() == 2
            raise KeyboardInterrupt
        assert "thing: goes on with 2 threads, as it was begun" in capsys.readouterr().err
    with opened(tmp_path):
        pass
    assert files.read_json(tmp_path / "stage.json")["threads"] == 2


def test_another_number_that_is_chosen_later_is_obeyed_and_said(machine, monkeypatch, tmp_path, capsys):
    machine(4, 2.0)
    with pytest.raises(KeyboardInterrupt), opened(tmp_path):
        raise KeyboardInterrupt
    torch.set_num_threads(3)
    with opened(tmp_path):
        assert torch.get_num_threads() == 3
    said = capsys.readouterr().err
    assert "thing: was begun with 2 threads and goes on with 3, as chosen now; its last digits may be others" in said


def test_a_record_of_an_older_version_says_nothing_of_threads(machine, tmp_path):
    machine(2, 0.0)
    with pytest.raises(KeyboardInterrupt), opened(tmp_path):
        raise KeyboardInterrupt
    record = files.read_json(tmp_path / "stage.json")
    del record["threads"]
    files.write_json(tmp_path / "stage.json", record)
    machine(2, 1.0)
    with opened(tmp_path) as current:
        assert current.threads == 1


def test_a_training_that_goes_on_beside_other_work_has_the_same_bytes(
    machine, monkeypatch, tmp_path, make_images, tiny_diffusion
):
    """A sum of two threads is rounded otherwise than one of a single thread, as the third training shows."""

    def train(name, **more):
        images, config = make_images(40, None, channels=1, size=16), tiny_diffusion(batch_size=32, steps=4, **more)
        train_diffusion(images, config, CPU, seed=0, folder=tmp_path / name)
        return load_file(tmp_path / name / "unet/diffusion_pytorch_model.safetensors")

    machine(2, 0.0)
    straight = train("straight")
    monkeypatch.setenv("CLSP_FAULT", "step:2:eio")
    with pytest.raises(OSError, match="Input/output"):
        train("killed", checkpoint_minutes=0)
    monkeypatch.delenv("CLSP_FAULT")
    machine(2, 1.0)
    resumed = train("killed", checkpoint_minutes=0)
    assert [name for name in straight if not torch.equal(straight[name], resumed[name])] == []
    alone = train("alone")
    assert any(not torch.equal(straight[name], alone[name]) for name in straight)


def test_a_launch_leaves_torch_and_the_environment_as_they_were(machine, monkeypatch):
    machine(4)
    with threads.kept():
        torch.set_num_threads(2)
        os.environ["OMP_NUM_THREADS"] = "2"
    assert torch.get_num_threads() == 4
    assert "OMP_NUM_THREADS" not in os.environ


SPINS = "import sys; from clsp.__main__ import main; sys.argv = ['clsp', '--version']; main()"
SPINS += "; import os; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    ("said", "spins"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")]
)
def test_the_command_lets_threads_wait_briefly_unless_the_user_says_otherwise(said, spins):
    clean = {name: value for name, value in CLEAN.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment = clean | {"PYTHONPATH": str(SOURCE)} | said
    done = subprocess.run([sys.executable, "-c", SPINS], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == spins
