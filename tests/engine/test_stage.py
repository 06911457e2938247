"""Stages: made once, resumed, never mixed, never shared."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import field
from typing import Annotated

import pytest

from clsp import files
from clsp.engine import stage as stages
from clsp.engine.stage import stage
from clsp.errors import InUseError, UserError
from clsp.processes import NODE
from clsp.settings import Count, Incidental, settings
from clsp.settings.types import Counts, NonNegative, Positive
from workshop import ENVIRONMENT


@settings
class Head:
    dim: Count = 8
    norm: str = "none"


@settings
class Thing:
    lr: Positive = 0.1
    widths: Counts = field(default_factory=lambda: [1, 2])
    head: Head = field(default_factory=Head)
    trim: NonNegative = 0.0
    log_every: Annotated[Count, Incidental] = 10


def open_stage(folder, *, data="abc", made=None, seed=None, more=None, **changes):
    return stage("thing", folder, Thing(**changes), data=data, made=made, seed=seed, settings=more)


def refused(words, *arguments, **options):
    with pytest.raises(UserError, match=words) as error, open_stage(*arguments, **options):
        pytest.fail("the block ran")
    assert "\n" not in str(error.value)


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
        (tmp_path / f".half.npy.{NODE}-{2**22 + 1}.clsp-tmp").write_bytes(b"torn")
        raise error
    assert files.read_json(tmp_path / "stage.json")["status"] == "interrupted"
    with open_stage(tmp_path) as second:
        assert not second.finished
        assert second.seconds >= 50
        assert not list(tmp_path.glob(".*.clsp-tmp"))
    with open_stage(tmp_path) as third:
        assert third.finished


def test_other_settings_or_data_are_refused_naming_what_changed(tmp_path):
    with open_stage(tmp_path, seed=1):
        pass
    before = (tmp_path / "stage.json").read_bytes()
    refused(r"lr 0.1 -> 0.2.*new None -> 1.*choose another --out", tmp_path, seed=1, lr=0.2, more={"new": 1})
    refused("data 'abc' -> 'xyz'", tmp_path, seed=1, data="xyz")
    refused("seed 1 -> 2", tmp_path, seed=2)
    assert (tmp_path / "stage.json").read_bytes() == before


def test_a_setting_that_changes_nothing_in_the_result_may_change(tmp_path):
    with open_stage(tmp_path, log_every=1):
        pass
    with open_stage(tmp_path, log_every=99) as second:
        assert second.finished
    assert "log_every" not in files.read_json(tmp_path / "stage.json")["settings"]


def test_what_an_older_version_made_goes_on_where_the_options_that_came_since_stand_at_their_defaults(tmp_path):
    with open_stage(tmp_path, lr=0.2):
        pass
    record = files.read_json(tmp_path / "stage.json")
    del record["sha256"], record["files"]
    del record["settings"]["trim"], record["settings"]["head"]["norm"]
    files.write_json(tmp_path / "stage.json", record)
    with open_stage(tmp_path, lr=0.2) as upgraded:
        assert upgraded.finished
    refused(r"trim 0.0 -> 0.5", tmp_path, lr=0.2, trim=0.5)
    refused(r"'norm': 'none'.*'norm': 'affine'", tmp_path, lr=0.2, head=Head(norm="affine"))
    refused(r"lr 0.2 -> 0.5", tmp_path, lr=0.5)


# --- made from another result ----------------------------------------------------------------------------------------


def make(folder, bank):
    """Make a thing from the bank called ``bank``, with a checkpoint; return whether it was there before."""
    with open_stage(folder, made={"bank": bank}) as current:
        if current.finished:
            return True
        assert not (folder / "checkpoints").exists()
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints/last").write_text(bank)
        (folder / "weights").write_text(bank)
    return False


def test_what_was_made_from_another_result_is_kept_aside_and_made_again(tmp_path, capsys):
    assert not make(tmp_path, "one")
    capsys.readouterr()
    assert not make(tmp_path, "two")
    (aside,) = (tmp_path / "superseded").iterdir()
    told = capsys.readouterr().err
    assert "another bank than before" in told
    assert str(aside) in told
    assert (tmp_path / "weights").read_text() == "two"
    assert (aside / "weights").read_text() == (aside / "checkpoints/last").read_text() == "one"
    assert files.read_json(aside / "stage.json")["inputs"]["bank"] == "one"
    assert make(tmp_path, "two")


def test_results_that_come_and_go_are_all_kept(tmp_path):
    for bank in ("one", "two", "one", "two", "one"):
        assert not make(tmp_path, bank)
    kept = sorted((folder / "weights").read_text() for folder in (tmp_path / "superseded").iterdir())
    assert kept == ["one", "one", "two", "two"]


def test_a_kill_while_a_result_is_set_aside_mixes_nothing(tmp_path, monkeypatch):
    make(tmp_path, "one")
    path = type(tmp_path)
    replace, moved = path.replace, []

    def kill_after_one(self, target):
        if moved:
            raise OSError("killed")
        moved.append(self.name)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(path, "replace", kill_after_one)
        with pytest.raises(OSError, match="killed"):
            make(tmp_path, "two")
    assert not make(tmp_path, "two")
    (aside,) = (tmp_path / "superseded").iterdir()
    assert sorted(item.name for item in aside.iterdir()) == ["checkpoints", "stage.json", "weights"]
    assert (tmp_path / "weights").read_text() == "two"


def test_other_settings_are_refused_also_where_the_result_would_be_set_aside(tmp_path):
    make(tmp_path, "one")
    refused("lr 0.1 -> 0.2", tmp_path, lr=0.2, made={"bank": "two"})
    assert not (tmp_path / "superseded").exists()
    assert (tmp_path / "weights").read_text() == "one"


# --- one process at a time -------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from clsp.engine.stage import stage
from clsp.methods.base import NoSettings
with stage("thing", Path(sys.argv[1]), NoSettings(), data="abc"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_stage_that_another_process_works_on_is_refused_until_it_ends(tmp_path):
    from clsp.methods.base import NoSettings

    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(InUseError, match=f"in use by process {holder.pid} of "),
            stage("thing", tmp_path, NoSettings(), data="abc"),
        ):
            pytest.fail("the block ran")
        holder.kill()  # a killed process leaves no lock
        holder.wait()
        with stage("thing", tmp_path, NoSettings(), data="abc") as current:
            assert not current.finished
    finally:
        holder.kill()
        holder.communicate()


def test_the_lock_is_free_after_the_block_whatever_its_end(tmp_path):
    with pytest.raises(RuntimeError), open_stage(tmp_path):
        raise RuntimeError
    with open_stage(tmp_path), pytest.raises(InUseError), open_stage(tmp_path):
        pytest.fail("the block ran")
    with open_stage(tmp_path) as last:
        assert last.finished


@pytest.mark.parametrize("error", [NotImplementedError("no flock"), OSError(37, "No locks available")])
def test_where_a_file_system_has_no_locks_the_stage_goes_on_and_says_so(tmp_path, monkeypatch, capsys, error):
    def none(lock):
        raise error

    monkeypatch.setattr(stages.FileLock, "acquire", none)
    with open_stage(tmp_path):
        pass
    assert files.read_json(tmp_path / "stage.json")["status"] == "finished"
    assert "no lock can be held there" in capsys.readouterr().err


def test_a_file_in_the_way_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("x")
    refused("a file is in the way", tmp_path / "file")
    refused("a file is in the way", tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path):
    tmp_path.chmod(0o500)
    refused(r"read-only|permission denied", tmp_path / "below")
