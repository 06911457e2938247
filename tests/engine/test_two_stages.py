"""A stage on two processes: what one found out all know, and none goes on from what is being set aside."""

from __future__ import annotations

import time

from forks import pair_of

from clsp import distributed
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import launch
from clsp.engine.stage import stage
from clsp.methods.base import NoSettings


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
