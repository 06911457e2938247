"""Stages: made once, resumed, never mixed, never shared."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from clsp import distributed, files
from clsp.engine.stage import stage
from clsp.errors import UserError


def open_stage(folder, **settings):
    return stage("thing", folder, settings={"lr": 0.1, "widths": (1, 2), **settings}, inputs={"data": "abc"})


def test_a_finished_stage_is_known_as_finished_with_its_facts(tmp_path):
    with open_stage(tmp_path) as first:
        assert not first.finished
        first.facts = {"n": 3}
    with open_stage(tmp_path) as second:
        assert second.finished
        assert second.facts == {"n": 3}
    assert files.read_json(tmp_path / "stage.json")["status"] == "finished"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_interrupted_stage_goes_on_and_adds_up_its_time(tmp_path, error):
    with pytest.raises(error), open_stage(tmp_path) as first:
        first.seconds = 50.0
        (tmp_path / ".half.npy.123.tmp").write_bytes(b"torn")
        raise error
    assert files.read_json(tmp_path / "stage.json")["status"] == "interrupted"
    with open_stage(tmp_path) as second:
        assert not second.finished
        assert second.seconds >= 50
        assert not list(tmp_path.glob(".*.tmp"))
    with open_stage(tmp_path) as third:
        assert third.finished


def test_other_settings_or_inputs_are_refused_naming_what_changed(tmp_path):
    with open_stage(tmp_path):
        pass
    before = (tmp_path / "stage.json").read_bytes()
    with (
        pytest.raises(UserError, match=r"lr 0.1 -> 0.2.*new None -> 1.*choose another --out"),
        open_stage(tmp_path, lr=0.2, new=1),
    ):
        pytest.fail("the block ran")
    with (
        pytest.raises(UserError, match="data 'abc' -> 'xyz'"),
        stage("thing", tmp_path, settings={"lr": 0.1, "widths": [1, 2]}, inputs={"data": "xyz"}),
    ):
        pytest.fail("the block ran")
    assert (tmp_path / "stage.json").read_bytes() == before


def test_what_an_older_version_made_goes_on_where_the_options_that_came_since_stand_at_their_defaults(tmp_path):
    old, now = {"lr": 0.1, "head": {"dim": 8}}, {"lr": 0.1, "head": {"dim": 8, "norm": "none"}, "trim": 0.0}
    usual = {"lr": 0.5, "head": {"dim": 16, "norm": "none"}, "trim": 0.0}

    def opened(settings):
        return stage("thing", tmp_path, settings=settings, inputs={"data": "abc"}, defaults=usual)

    with opened(old):
        pass
    with opened(now) as upgraded:
        assert upgraded.finished
    with pytest.raises(UserError, match=r"trim 0.0 -> 0.5"), opened({**now, "trim": 0.5}):
        pytest.fail("the block ran")
    with (
        pytest.raises(UserError, match=r"'norm': 'none'.*'norm': 'affine'"),
        opened({**now, "head": {"dim": 8, "norm": "affine"}}),
    ):
        pytest.fail("the block ran")
    with pytest.raises(UserError, match=r"lr 0.1 -> 0.5"), opened({**now, "lr": 0.5}):
        pytest.fail("the block ran")


HOLDER = """
import sys
import time
from pathlib import Path
from clsp.engine.stage import stage
with stage("thing", Path(sys.argv[1]), settings={}, inputs={}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_stage_that_another_process_works_on_is_refused_until_it_ends(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=f"in use by process {holder.pid}"),
            stage("thing", tmp_path, settings={}, inputs={}),
        ):
            pytest.fail("the block ran")
        holder.kill()  # a killed process leaves no lock
        holder.wait()
        with stage("thing", tmp_path, settings={}, inputs={}) as current:
            assert not current.finished
    finally:
        holder.kill()
        holder.communicate()


def test_a_file_in_the_way_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="a file is in the way"), open_stage(tmp_path / "file"):
        pytest.fail("the block ran")
    with pytest.raises(UserError, match="a file is in the way"), open_stage(tmp_path / "file" / "below"):
        pytest.fail("the block ran")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"read-only|permission denied"), open_stage(tmp_path / "below"):
        pytest.fail("the block ran")


def test_the_others_leave_when_the_first_process_failed_in_this_attempt(tmp_path, monkeypatch):
    record = {"status": "interrupted", "settings": {}, "inputs": {}, "facts": {}, "seconds": 1.0}

    def opened(changed):
        files.write_json(tmp_path / "stage.json", record)
        os.utime(tmp_path / "stage.json", (changed, changed))
        monkeypatch.setattr(distributed, "rank", lambda: 1)
        with stage("x", tmp_path, settings={}, inputs={}):
            pass

    with pytest.raises(SystemExit):
        opened(time.time() + 60)

    def finish(seconds):
        files.write_json(tmp_path / "stage.json", {**record, "status": "finished", "facts": {"n": 1}})

    monkeypatch.setattr(time, "sleep", finish)  # an old interruption: the first process is still at work
    opened(time.time() - 60)
