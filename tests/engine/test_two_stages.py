"""Stages on two processes: what one found out all know, none goes on from what is being set aside, and two make what
one makes."""

from __future__ import annotations

import time

import pytest
from forks import pair_of
from safetensors.torch import load_file

from clsp import distributed, files
from clsp.diffusion.training import train_diffusion
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import launch
from clsp.engine.stage import stage
from clsp.methods.base import NoSettings
from clsp.training.pretrain import pretrain
from tiny import diffusion_config, images_of, pretrain_config, vit_config


def together(work):
    """Run ``work`` on two processes of one group; return what each said."""

    def launched(fork):
        launch(HardwareConfig(accelerator="cpu", devices=2))
        assert distributed.world_size() == 2
        work(fork)

    pair = pair_of(launched)
    assert [process.end() for process in pair] == [0, 0], [process.told for process in pair]
    return [process.rest() for process in pair]


def opened(folder, bank="bank"):
    return stage("thing", folder, NoSettings(), data="abc", made={"bank": bank})


def test_what_a_stage_found_out_reaches_the_other_processes(tmp_path):
    def work(fork):
        with opened(tmp_path) as current:
            if distributed.rank() == 0:
                time.sleep(0.3)
                current.facts = {"found": 3}
        fork.say(current.facts)
        with opened(tmp_path) as current:
            fork.say(current.finished, current.facts)

    assert together(work) == [["{'found': 3}", "True {'found': 3}"]] * 2


def test_nobody_goes_on_before_the_old_result_is_set_aside(tmp_path, monkeypatch):
    path = type(tmp_path)
    replace = path.replace

    def slowly(self, target):
        time.sleep(0.3)
        return replace(self, target)

    def work(fork):
        with opened(tmp_path, "old"):
            (tmp_path / "checkpoint").touch()
            distributed.barrier()
        monkeypatch.setattr(path, "replace", slowly)
        with opened(tmp_path, "new"):
            fork.say((tmp_path / "checkpoint").exists())

    assert together(work) == [["False"]] * 2


def test_values_are_agreed_on_and_the_largest_is_known(tmp_path):
    def work(fork):
        fork.say(distributed.agreed({"rank": distributed.rank()}), distributed.largest(3 - distributed.rank()))

    assert together(work) == [["{'rank': 0} 3"]] * 2


# --- two trainings are one -------------------------------------------------------------------------------------------


def diffusion(folder, devices):
    """Without dropout, which each process draws for itself."""
    images, hardware = images_of(20, None, channels=1, size=8), HardwareConfig(accelerator="cpu", devices=devices)
    train_diffusion(
        images, diffusion_config(checkpoint_minutes=0, dropout=0.0, steps=10), hardware, seed=0, folder=folder
    )


def encoder(folder, devices):
    """Of an encoder without BatchNorm, whose statistics are those of a process."""
    config = pretrain_config(method="simclr", backbone=vit_config(), checkpoint_minutes=0, lr=0.01)
    hardware = HardwareConfig(accelerator="cpu", devices=devices)
    pretrain(images_of(), config, hardware, seed=0, folder=folder)


def on_two(train, folder, monkeypatch=None):
    """Train on two processes; with a ``monkeypatch`` both are killed after the third step."""
    if monkeypatch is None:
        together(lambda fork: train(folder, 2))
        return
    monkeypatch.setenv("CLSP_FAULT", "step:3:kill")
    pair = pair_of(lambda fork: train(folder, 2))
    monkeypatch.delenv("CLSP_FAULT")
    assert -9 in [process.end() for process in pair], [process.told for process in pair]


def steps(folder):
    return [line["step"] for line in files.read_jsonl(folder / "metrics.jsonl")]


@pytest.mark.parametrize("train", [diffusion, encoder], ids=["diffusion", "encoder"])
def test_a_training_of_two_processes_is_that_of_one_also_when_one_goes_on_where_two_were(tmp_path, monkeypatch, train):
    train(tmp_path / "one", 1)
    on_two(train, tmp_path / "two")
    on_two(train, tmp_path / "two, then one", monkeypatch)
    train(tmp_path / "two, then one", 1)
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setenv("CLSP_FAULT", "step:3:eio")
        train(tmp_path / "one, then two", 1)
    on_two(train, tmp_path / "one, then two")
    whole, told = load_file(tmp_path / "one/checkpoints/last.safetensors"), steps(tmp_path / "one")
    for name in ("two", "two, then one", "one, then two"):
        found, logged = load_file(tmp_path / name / "checkpoints/last.safetensors"), steps(tmp_path / name)
        assert logged == told
        worst = max(float((found[key].double() - tensor.double()).abs().max()) for key, tensor in whole.items())
        assert worst < 1e-4, (name, worst)  # a step of other images differs by the learning rate
