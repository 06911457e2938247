"""Kills, full disks, NaN, two at once: the same command finishes the run, and the result has the same bytes.

All of it on one thread of one machine, where equal bytes can be asked for. The faults are injected by ``CLSP_FAULT``
(see clsp.faults), at the n-th write, step, shard or loss of a process.
"""

from __future__ import annotations

import re
import shutil
import signal
import time

import pytest

from clsp import files
from workshop import kill, shared, stamps

STEPS = 8
"""Steps of the diffusion model; then 3 shards, then 6 steps of pretraining."""
RUN = (
    "run", "--data", "digits", "--recipe", "smoke", "--images.limit", 100, "--evaluate.classifier_epochs", 0,
    "--diffusion.steps", STEPS, "--diffusion.checkpoint_minutes", 0, "--pretrain.checkpoint_minutes", 0,
    "--synthesize.anchors", 48, "--synthesize.shard_anchors", 16, "--pretrain.images", 48, "--pretrain.batch_size", 16,
    "--pretrain.epochs", 2,
)  # fmt: skip
CELL = "arms/simclr+bank/seed-0"
RESULTS = (
    "diffusion/unet/diffusion_pytorch_model.safetensors", "positives/shard-00000000.npy",
    "positives/shard-00000016.npy", "positives/shard-00000032.npy", "positives/manifest.json",
    "encoder/encoder.safetensors", "encoder/config.json", "evaluation/metrics.json",
)  # fmt: skip


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("golden") / "run"
    done = shared().clsp(*RUN, "--out", folder)
    assert done.status == 0, done.err
    return folder


def results(folder):
    return {name: files.file_hash(folder / name) for name in RESULTS}


def losses(folder, stage):
    return files.read_jsonl(folder / stage / "metrics.jsonl")


def kept(folder):
    """Files that no later call may touch: all of finished stages, and shards whose facts were written."""
    found = {}
    for path in folder.rglob("stage.json"):
        if files.read_json(path)["status"] == "finished":
            place = path.parent.relative_to(folder)
            inner = tuple(f"{other.parent.relative_to(path.parent)}/" for other in path.parent.glob("*/stage.json"))
            own = {name: time for name, time in stamps(path.parent).items() if not name.startswith(inner)}
            found |= {f"{place}/{name}": time for name, time in own.items()}
    for path in (folder / "positives").glob("shard-*.npy"):
        if path.with_suffix(".json").exists():
            found[f"positives/{path.name}"] = path.stat().st_mtime_ns
    return {name: stamp for name, stamp in found.items() if not name.endswith(".lock")}


def finish(folder, before=None):
    """The same command once more; it must finish, and leave alone what was finished."""
    before = kept(folder) if before is None else before
    done = shared().clsp(*RUN, "--out", folder)
    assert done.status == 0, done.err
    after = stamps(folder)
    assert {name for name, stamp in before.items() if after.get(name) != stamp} == set()
    assert [path.name for path in folder.rglob("*") if path.name.endswith(".clsp-tmp")] == []
    return done


@pytest.mark.parametrize(
    ("fault", "finished"),
    [
        (f"step:{STEPS // 2}:kill", set()),
        ("shard:2:kill", {"diffusion"}),
        (f"step:{STEPS + 4}:kill", {"diffusion", "positives"}),
    ],
    ids=["diffusion", "synthesis", "pretraining"],
)
def test_killed_in_a_stage(golden, tmp_path, fault, finished):
    folder = tmp_path / "run"
    died = shared().clsp(*RUN, "--out", folder, fault=fault)
    assert died.status == -signal.SIGKILL
    before = kept(folder)
    assert {name.split("/")[0] for name in before if name.endswith("stage.json")} == finished
    record = folder / ("diffusion", "positives", CELL)[len(finished)] / "stage.json"
    spent = files.read_json(record)["seconds"]
    assert spent > 0  # SIGKILL leaves no time to write it down
    done = finish(folder, before)
    assert files.read_json(record)["seconds"] > spent
    assert done.err.count("done before, in") == len(finished)
    if fault.startswith("step"):
        assert re.search(r"continues at step \d+ of", done.err)
    else:
        assert "16 of 48 anchors were done before" in done.err
    assert results(folder) == results(golden)
    for stage in ("diffusion", CELL):
        assert losses(folder, stage) == losses(golden, stage)  # no step is told twice


def test_killed_in_evaluation(golden, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(golden, folder)
    shutil.rmtree(folder / "evaluation")
    shutil.rmtree(folder / CELL / "evaluation")
    died = shared().clsp(*RUN, "--out", folder, fault="write:3:kill")
    assert died.status == -signal.SIGKILL
    assert not (folder / CELL / "evaluation" / "metrics.json").exists()
    finish(folder)
    assert results(folder) == results(golden)


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_killed_at_an_early_write(golden, tmp_path, number):
    folder = tmp_path / "run"
    assert shared().clsp(*RUN, "--out", folder, fault=f"write:{number}:kill").status == -signal.SIGKILL
    finish(folder)
    assert results(folder) == results(golden)


@pytest.mark.parametrize("number", [11, 14])
def test_killed_again_and_again(golden, tmp_path, number):
    """Every attempt dies at its n-th write; the run still ends, a bit later each time."""
    folder, deaths, before = tmp_path / "run", 0, {}
    while shared().clsp(*RUN, "--out", folder, fault=f"write:{number}:kill").status:
        deaths += 1
        assert deaths < 20
        now = stamps(folder)
        assert {name for name, stamp in before.items() if now.get(name) != stamp} == set()
        before = kept(folder)
    assert deaths >= 3
    assert results(folder) == results(golden)


def test_killed_at_any_time(golden, tmp_path):
    """From outside, without a fault point."""
    folder = tmp_path / "run"
    for delay in (0.2, 0.5, 0.9, 1.4):
        process = shared().begin(*RUN, "--out", folder)
        time.sleep(delay)
        kill(process)
    finish(folder)
    assert results(folder) == results(golden)


@pytest.mark.parametrize("number", [3, 9, 24])
def test_a_full_disk(golden, tmp_path, number):
    folder = tmp_path / "run"
    done = shared().clsp(*RUN, "--out", folder, fault=f"write:{number}:enospc")
    assert done.status == 2
    assert done.err.count("clsp: error:") == 1
    assert "Traceback" not in done.err
    assert done.error.startswith(f"clsp: error: no space left for {folder}/")
    assert done.err.splitlines()[-1] == done.error
    finish(folder)
    assert results(folder) == results(golden)


def test_a_full_disk_spares_what_was_there(golden, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(golden, folder)
    shutil.rmtree(folder / CELL)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    done = shared().clsp(*RUN, "--out", folder, fault="write:4:enospc")
    assert done.status == 2
    assert {path for path, data in before.items() if path.read_bytes() != data} == set()


def test_a_broken_disk(tmp_path):
    done = shared().clsp(*RUN, "--out", tmp_path / "run", fault="write:3:eio")
    assert done.status == 2
    assert "Input/output error" in done.error
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("fault", "named", "stage"),
    [
        ("loss:5:nan", "the loss term noise_prediction became non-finite at step 4", "diffusion"),
        ("gradient:5:nan", "the gradient norm became non-finite at step 4", "diffusion"),
        (f"loss:{STEPS + 3}:nan", "the loss term nt_xent and positive became non-finite at step 2", CELL),
        (f"gradient:{STEPS + 3}:nan", "the gradient norm became non-finite at step 2", CELL),
    ],
)
def test_a_loss_that_is_not_finite(golden, tmp_path, fault, named, stage):
    """It stops before the optimiser's step, names the term, and the last checkpoint is good to go on with."""
    folder = tmp_path / "run"
    done = shared().clsp(*RUN, "--out", folder, fault=fault)
    assert done.status == 2
    assert named in done.error
    assert "a lower learning rate" in done.error
    assert files.read_json(folder / stage / "stage.json")["status"] == "interrupted"
    finish(folder)
    assert results(folder) == results(golden)


def test_too_little_memory_halves_the_batch(golden, tmp_path):
    """Candidates do not depend on how many are drawn at once."""
    folder = tmp_path / "run"
    done = shared().clsp(*RUN, "--out", folder, fault="draw:2:oom")
    assert done.status == 0, done.err
    assert [files.file_hash(folder / name) for name in RESULTS[1:4]] == [
        files.file_hash(golden / name) for name in RESULTS[1:4]
    ]


def test_two_processes_in_one_folder(tmp_path):
    folder = tmp_path / "run"
    long = [*RUN, "--out", folder]
    long[long.index("--diffusion.steps") + 1] = 1_000_000
    first = shared().begin(*long)
    try:
        record, waited = folder / "diffusion" / "stage.json", 0.0
        while not record.exists() and waited < 60:
            time.sleep(0.05)
            waited += 0.05
        second = shared().clsp(*long)
    finally:
        kill(first)
    assert second.status == 2
    assert f"in use by process {first} of" in second.error
    third = shared().clsp(*RUN, "--out", folder)  # the lock died with its holder
    assert third.status == 2
    assert "other settings" in third.error
