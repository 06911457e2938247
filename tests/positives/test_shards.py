"""A bank goes on where it was stopped: with shards of another size, little memory, or a nearly full disk."""

from __future__ import annotations

import shutil
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from test_bank import make, write_bank

from clsp import faults, files
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.diffusion.unet import build_scheduler, build_unet
from clsp.errors import UserError
from clsp.positives.bank import PositiveBank
from clsp.positives.shards import Part, missing_parts, parts_of, write_shard, written
from clsp.positives.verdict import Verdict

ANCHOR = 2 * 3 * 8 * 8
"""Bytes of an anchor's two candidates."""


@pytest.fixture
def model(tiny_diffusion, tmp_path):
    torch.manual_seed(0)
    unet = build_unet(tiny_diffusion(), channels=3, size=8).eval()
    DDPMPipeline(unet=unet, scheduler=build_scheduler(tiny_diffusion())).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def stop(monkeypatch):
    """Stop the making of a bank at a fault point."""

    def stopped(fault, *args, **changes):
        faults._passed.clear()
        monkeypatch.setenv("CLSP_FAULT", f"{fault}:enospc")
        with pytest.raises(OSError, match="No space"):
            make(*args, **changes)
        monkeypatch.delenv("CLSP_FAULT")

    return stopped


def same_bank(bank, straight):
    """Both hold the same, and the folder holds no other shards."""
    assert bank.manifest["shards"] == straight.manifest["shards"]
    assert bank.manifest == straight.manifest
    assert np.array_equal(bank.ids, straight.ids)
    rows = np.arange(len(straight))
    assert np.array_equal(bank.array(rows), straight.array(rows))
    names = [sorted(path.name for path in b.folder.glob("shard-*")) for b in (bank, straight)]
    assert names[0] == names[1]
    PositiveBank.open(bank.folder, verify=True)


@pytest.mark.parametrize(("before", "after"), [(64, 32), (32, 64), (32, 48)])
def test_a_bank_goes_on_with_shards_of_another_size(make_images, model, tmp_path, stop, before, after):
    images, size = make_images(140, size=8), {"anchors": 128, "batch_size": 32}
    straight = make(images, model, tmp_path / "straight", shard_anchors=after, **size)
    assert [entry["first"] for entry in straight.manifest["shards"]] == list(range(0, 128, after))
    stop(f"shard:{128 // before}", images, model, tmp_path / "resumed", shard_anchors=before, **size)
    assert len(list((tmp_path / "resumed").glob("shard-*.npy"))) == 128 // before - 1
    same_bank(make(images, model, tmp_path / "resumed", shard_anchors=after, **size), straight)


def test_a_shard_that_was_written_without_its_facts_has_none_of_an_older_size(make_images, model, tmp_path, stop):
    images, folder = make_images(20, size=8), tmp_path / "resumed"
    straight = make(images, model, tmp_path / "straight", shard_anchors=8)
    stop("shard:2", images, model, folder, shard_anchors=8)
    stop("write:4", images, model, folder, shard_anchors=4)  # after stage.json, ids.npy and the first shard
    assert len(files.read_array(folder / "shard-00000000.npy")) == 4
    same_bank(make(images, model, folder, shard_anchors=8), straight)


def test_shards_of_the_same_size_are_kept_and_other_files_too(make_images, model, tmp_path, stop):
    images, folder = make_images(20, size=8), tmp_path / "bank"
    stop("shard:3", images, model, folder, anchors=9, shard_anchors=4)
    (folder / "shard-of-mine.npy").write_bytes(b"")
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("shard-*")}
    make(images, model, folder, anchors=9, shard_anchors=4)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        ([0, 2], r"a shard \(shard-00000006.npy\) from row 6, not 3; delete .* 'clsp synthesize'"),
        ([0, 0, 1, 2], "from row 0, not 3"),
        ([1, 0, 2], "from row 3, not 0"),
        ([0, 1], "shards for 6 anchors, not for its 7"),
        ([], "shards for 0 anchors, not for its 7"),
    ],
    ids=["gap", "twice", "order", "end", "none"],
)
def test_shards_that_do_not_hold_every_anchor_once_are_refused(tmp_path, kept, text):
    manifest = files.read_json(write_bank(tmp_path) / "manifest.json")
    manifest["shards"] = [manifest["shards"][number] for number in kept]
    files.write_json(tmp_path / "manifest.json", manifest)
    with pytest.raises(UserError, match=text):
        PositiveBank.open(tmp_path)


def test_a_shard_is_done_where_it_has_the_rows_that_are_wanted_and_both_its_files(tmp_path):
    """What an earlier attempt left under a name that is known may hold other rows."""
    parts = parts_of(6, 3)
    for part in (Part(0, 3), Part(3, 2)):
        write_shard(tmp_path, part, np.zeros((part.count, 1, 2, 2, 1), np.uint8), 0.0, "made")
    assert missing_parts(tmp_path, parts, "made") == [parts[1]]
    (tmp_path / "shard-00000000.npy").unlink()  # facts alone are no shard either
    assert missing_parts(tmp_path, parts, "made") == parts
    for part in parts:
        write_shard(tmp_path, part, np.ones((part.count, 1, 2, 2, 1), np.uint8), 0.0, "made")
    shards = written(tmp_path, parts, "made")
    assert [(shard.first, shard.count) for shard in shards] == [(0, 3), (3, 3)]
    assert [shard.sha256 for shard in shards] == [files.file_hash(tmp_path / shard.file) for shard in shards]


def test_shards_of_other_settings_are_drawn_anew(make_images, model, tmp_path):
    """Advice for damaged files says to remove the record, which knew the settings."""
    images = make_images(10, None, channels=3, size=8)
    make(images, model, tmp_path / "bank", shard_anchors=4)
    (tmp_path / "bank/stage.json").unlink()
    (tmp_path / "bank/shard-00000004.npy").unlink()
    mixed = make(images, model, tmp_path / "bank", shard_anchors=4, interpolation_weight=0.9)
    same_bank(mixed, make(images, model, tmp_path / "straight", shard_anchors=4, interpolation_weight=0.9))


class Attempts:
    """Stands before the pipeline's `draw`: has no memory for more than ``limit`` anchors, and leaves tensors behind."""

    def __init__(self, monkeypatch, limit):
        self.limit, self.sizes, self.left = limit, [], []
        self.draw = SyntheticPositivePipeline.draw
        monkeypatch.setattr(SyntheticPositivePipeline, "draw", lambda *args, **how: self(*args, **how))

    def __call__(self, pipeline, anchors, *args, **how):
        assert [reference for reference in self.left if reference() is not None] == []
        self.sizes.append(len(anchors))
        if len(anchors) > self.limit:
            activations = anchors + 1
            self.left += [weakref.ref(anchors), weakref.ref(activations)]
            raise torch.OutOfMemoryError("as if")
        return self.draw(pipeline, anchors, *args, **how)


def test_a_batch_too_large_is_gone_before_a_smaller_one_is_drawn_and_not_tried_again(
    make_images, model, tmp_path, monkeypatch
):
    images, size = make_images(20, size=8), {"anchors": 19, "batch_size": 16, "shard_anchors": 10}
    whole = make(images, model, tmp_path / "whole", **size).array(np.arange(19)).astype(int)
    attempts = Attempts(monkeypatch, 3)
    monkeypatch.setattr("clsp.positives.synthesize.judge_bank", lambda *_, **__: Verdict(True, {}))  # it draws as well
    halves = make(images, model, tmp_path / "halves", **size).array(np.arange(19))
    assert attempts.sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]
    assert len(attempts.left) == 4
    assert np.abs(halves - whole).max() <= 1


def test_too_little_memory_for_one_anchor_is_told(make_images, model, tmp_path, monkeypatch):
    attempts = Attempts(monkeypatch, 0)
    with pytest.raises(UserError, match="does not suffice for the 2 candidates of one anchor; choose fewer"):
        make(make_images(20, size=8), model, tmp_path / "bank")
    assert attempts.sizes == [4, 2, 1]


def with_room(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))


def test_a_bank_that_the_disk_cannot_hold_is_refused_before_it_is_drawn(make_images, model, tmp_path, monkeypatch):
    with_room(monkeypatch, 10 * ANCHOR - 1)
    with pytest.raises(UserError, match=r"the bank needs .* GB more, .* --out"):
        make(make_images(20, size=8), model, tmp_path / "bank")
    with_room(monkeypatch, 10 * ANCHOR)
    assert len(make(make_images(20, size=8), model, tmp_path / "bank")) == 10


def test_a_bank_that_goes_on_needs_room_for_what_is_missing(make_images, model, tmp_path, monkeypatch, stop):
    images, folder = make_images(20, size=8), tmp_path / "bank"
    stop("shard:3", images, model, folder)  # 8 of 10 anchors are there
    with_room(monkeypatch, 2 * ANCHOR - 1)
    with pytest.raises(UserError, match="the bank needs"):
        make(images, model, folder)
    assert len(list(folder.glob("shard-*.npy"))) == 2
    with_room(monkeypatch, 2 * ANCHOR)
    assert len(make(images, model, folder)) == 10


def test_shards_that_will_be_replaced_are_room(make_images, model, tmp_path, monkeypatch, stop):
    images, folder = make_images(20, size=8), tmp_path / "bank"
    stop("shard:3", images, model, folder)
    with_room(monkeypatch, 2 * ANCHOR)
    assert len(make(images, model, folder, shard_anchors=5)) == 10


def test_what_is_there_needs_no_room_and_a_shard_without_its_facts_no_more_than_it_takes(
    make_images, model, tmp_path, monkeypatch
):
    images, folder = make_images(20, size=8), tmp_path / "bank"
    straight = make(images, model, folder).array(np.arange(10))
    record = files.read_json(folder / "stage.json")
    with_room(monkeypatch, 0)
    for without_facts in (False, True):
        files.write_json(folder / "stage.json", {**record, "status": "running"})
        if without_facts:
            (folder / "shard-00000008.json").unlink()
        assert np.array_equal(make(images, model, folder).array(np.arange(10)), straight)
    assert (folder / "shard-00000008.json").exists()


def test_the_advice_for_a_damaged_shard_works(make_images, model, tmp_path):
    """Followed to the letter, it makes that shard anew and leaves the others alone."""
    images, folder = make_images(20, size=8), tmp_path / "bank"
    straight = make(images, model, tmp_path / "straight", shard_anchors=8)
    make(images, model, folder, shard_anchors=8)
    other, damaged = folder / "shard-00000000.npy", folder / "shard-00000008.npy"
    damaged.write_bytes(b"torn")
    with pytest.raises(UserError, match=rf"{damaged} is missing or damaged .* delete it and {folder}/stage.json"):
        PositiveBank.open(folder)
    before = other.stat().st_mtime_ns
    damaged.unlink()
    (folder / "stage.json").unlink()
    same_bank(make(images, model, folder, shard_anchors=8), straight)
    assert other.stat().st_mtime_ns == before
