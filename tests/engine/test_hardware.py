"""Which device a process works on, who starts the processes, and what they must agree on."""

from __future__ import annotations

import os

import pytest
import timm
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from clsp import console, distributed, files
from clsp.engine import launch as launching
from clsp.engine.hardware import HardwareConfig, device_of
from clsp.errors import UserError
from clsp.processes import NODE
from clsp.training import pretrain as training
from clsp.training.pretrain import pretrain

LAUNCHERS = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE",
    "SLURM_NTASKS", "SLURM_STEP_ID", "SLURM_JOB_NAME", "SLURM_PROCID", "SLURM_LOCALID",
)  # fmt: skip


@pytest.fixture
def launched(monkeypatch):
    """Set the variables of a launcher, and no others."""

    def by(**variables):
        for name in LAUNCHERS:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return by


TORCHRUN = {"RANK": 6, "WORLD_SIZE": 8, "LOCAL_RANK": 2, "LOCAL_WORLD_SIZE": 4}
SRUN = {"SLURM_NTASKS": 8, "SLURM_STEP_ID": 0, "SLURM_PROCID": 6, "SLURM_LOCALID": 2, "SLURM_JOB_NAME": "train"}
BATCH = {"SLURM_NTASKS": 8, "SLURM_JOB_NAME": "train"}
SHELL = {**SRUN, "SLURM_JOB_NAME": "interactive"}


@pytest.mark.parametrize(
    ("variables", "world", "rank", "local"),
    [({}, 1, 0, 0), (TORCHRUN, 8, 6, 2), (SRUN, 8, 6, 2), (BATCH, 1, 0, 0), (SHELL, 1, 0, 0)],
    ids=["none", "torchrun", "srun", "sbatch", "salloc"],
)
def test_a_process_knows_its_place_from_its_launcher(launched, variables, world, rank, local):
    launched(**variables)
    assert (distributed.world_size(), distributed.rank(), distributed.local_rank()) == (world, rank, local)


@pytest.mark.parametrize(("variables", "itself"), [({}, False), (TORCHRUN, False), (SRUN, False), (BATCH, True)])
def test_in_a_batch_script_without_srun_lightning_starts_the_processes_itself(launched, variables, itself):
    """Else it would wait for SLURM's tasks, which nobody starts."""
    launched(**variables)
    assert [type(one) for one in launching._environment()] == ([LightningEnvironment] if itself else [])


@pytest.mark.parametrize(("variables", "visible", "index"), [(TORCHRUN, 4, 2), (SRUN, 4, 2), (SRUN, 1, 0)])
def test_every_process_of_a_launcher_draws_on_its_own_gpu(launched, monkeypatch, variables, visible, index):
    """Before the first training nobody has shared out the devices; srun may show each process one alone."""
    launched(**variables)
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[-1])
    assert device_of(HardwareConfig()) == torch.device("cuda", index)
    launched()
    assert device_of(HardwareConfig()) == torch.device("cuda")


def test_processes_that_do_not_match_the_settings_are_refused_before_the_training(
    launched, make_images, tiny_pretrain, tmp_path, monkeypatch
):
    launched(**SRUN)
    monkeypatch.setenv("SLURM_PROCID", "0")
    with pytest.raises(UserError, match=r"started 8 processes.* are 4; set these to match"):
        pretrain(make_images(), tiny_pretrain(), HardwareConfig(accelerator="cpu", devices=4), seed=0, folder=tmp_path)


def test_what_lightning_finds_wrong_with_the_devices_is_one_line(make_images, tiny_pretrain, tmp_path, monkeypatch):
    def refuse(**options):
        raise MisconfigurationException("you asked for 2 GPUs, this machine has 1")

    launching._fabric.cache_clear()
    monkeypatch.setattr(launching, "Fabric", refuse)
    with pytest.raises(UserError, match=r"--hardware.devices 1: you asked for 2 GPUs"):
        pretrain(make_images(), tiny_pretrain(), HardwareConfig(accelerator="cpu"), seed=0, folder=tmp_path)


def test_where_one_dies_while_the_processes_meet_each_other_one_says_it_in_a_line(monkeypatch, capfd):
    """The first process, which speaks for all, may be the dead one; what the network library says has many lines."""

    class Alone:
        def __init__(self, **options):
            pass

        def launch(self):
            raise RuntimeError("Connection reset by peer\nframe #1: gloo\nframe #2: gloo")

    launching._fabric.cache_clear()
    monkeypatch.setattr(launching, "Fabric", Alone)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as ended:
        launching.fabric_for(HardwareConfig(accelerator="cpu"), "32")
    launching._fabric.cache_clear()
    assert ended.value.code == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("clsp: error:")]
    assert "process 1 of 2" in line and "Connection reset by peer" in line and "frame" not in line


def test_after_the_training_the_network_is_where_the_data_are(make_images, tiny_pretrain, tmp_path, monkeypatch):
    """FLOPs and pictures are made of the data, which stay on the device."""
    places = []

    def flops(made):
        views = made.views(0)
        places.extend({tensor.device for tensor in (*made.parameters(), *made.buffers(), views.first, views.ids)})
        return 1.0

    monkeypatch.setattr(training, "training_flops", flops)
    pretrain(make_images(), tiny_pretrain(epochs=1), HardwareConfig(accelerator="cpu"), seed=0, folder=tmp_path)
    assert places == [torch.device("cpu")]


def test_batch_norm_is_not_shared_where_that_would_take_the_activations_out():
    sharing = HardwareConfig(sync_batch_norm=True)
    with pytest.raises(UserError, match="would take the activations out"):
        sharing.require_layers(timm.create_model("mobilenetv3_small_050", num_classes=0))
    sharing.require_layers(timm.create_model("resnet18", num_classes=0))
    HardwareConfig().require_layers(timm.create_model("mobilenetv3_small_050", num_classes=0))


def test_a_training_that_fails_leaves_no_open_bar(make_images, tiny_pretrain, tmp_path, monkeypatch):
    """On a terminal it would hide the cursor and what is said next."""
    closed = []
    monkeypatch.setattr(console.Progress, "close", lambda self: closed.append(self.done))
    monkeypatch.setenv("CLSP_FAULT", "step:5:eio")
    with pytest.raises(OSError, match="Input/output"):
        pretrain(make_images(), tiny_pretrain(), HardwareConfig(accelerator="cpu"), seed=0, folder=tmp_path)
    assert closed == [4]


def test_what_another_process_still_writes_is_not_swept_nor_what_others_left(tmp_path):
    mine = f".a.{NODE}-{os.getpid()}.clsp-tmp"
    alive = f".b.{NODE}-{os.getppid()}.clsp-tmp"
    dead = f".c.{NODE}-{2**22 + 1}.clsp-tmp"
    elsewhere, old = ".d.node-7-12.clsp-tmp", ".e.node-7-12.clsp-tmp"
    strangers = [".draft.tmp", ".f.123.tmp", ".notes.clsp-tmp", "g.node-7-12.clsp-tmp"]
    for name in (mine, alive, dead, elsewhere, old, *strangers):
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (1, 1))
    files.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive, elsewhere, *strangers])
