"""Pairs for a loop of one's own: reproducible, the same with workers and processes, and in lightly's layout."""

from __future__ import annotations

import pickle
import runpy
import sys
from collections import Counter
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightly.data.multi_view_collate import MultiViewCollate
from lightly.transforms import SimCLRTransform
from lightly.transforms.simclr_transform import SimCLRViewTransform
from test_bank import IDS, K, write_bank
from torch.utils.data import DataLoader, DistributedSampler

import clsp
from clsp import files
from clsp.errors import UserError
from clsp.images.imageset import Images, Split
from clsp.positives.bank import PositiveBank
from clsp.positives.dataset import PositivePairs, collate_pairs
from workshop import shared

ROOT = Path(__file__).parents[2]


@pytest.fixture
def images(tmp_path):
    """Images whose first pixel is their dataset index, and the bank that belongs to them."""
    pixels = np.zeros((40, 1, 2, 2), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(40)
    files.write_array(tmp_path / "images.npy", pixels)
    mapped = files.read_array(tmp_path / "images.npy", mapped=True)
    names = [f"{number}.png" for number in range(40)]
    made = Images(source="made", train=Split(images=mapped, names=names, labels=np.arange(40) % 3))
    (tmp_path / "bank").mkdir()
    write_bank(tmp_path / "bank")
    manifest = files.read_json(tmp_path / "bank" / "manifest.json")
    manifest["data"]["fingerprint"] = made.fingerprint
    files.write_json(tmp_path / "bank" / "manifest.json", manifest)
    return made


@pytest.fixture
def pairs(images, tmp_path):
    return PositivePairs(images, tmp_path / "bank", transform=torch.clone)


def seen(loader):
    """What a loader gave: the candidate's number by the anchor's dataset index."""
    found = {}
    for (anchors, candidates), _, _ in loader:
        assert anchors[:, 0, 0, 0].tolist() == candidates[:, 0, 0, 0].tolist()
        found |= dict(zip(anchors[:, 0, 0, 0].tolist(), candidates[:, 0, 0, 1].tolist()))
    return found


def test_an_item_is_an_anchor_with_its_own_candidate_label_and_name(pairs):
    assert len(pairs) == len(IDS)
    for place, number in enumerate(IDS.tolist()):
        (anchor, candidate), label, name = pairs[place]
        assert anchor[0, 0, 0] == candidate[0, 0, 0] == number
        assert candidate[0, 0, 1] == pairs.chosen([place])[0]
        assert (label, name) == (number % 3, f"{number}.png")
    assert pairs[-1][2] == "34.png"
    for wrong in (7, -8):
        with pytest.raises(IndexError, match="outside 0 to 6"):
            pairs[wrong]


def test_draws_are_uniform_change_with_the_epoch_and_the_seed_and_repeat(images, pairs, tmp_path):
    places = np.arange(len(pairs))
    drawn = np.stack([pairs.chosen(places, epoch) for epoch in range(400)])
    counts = Counter(drawn.ravel().tolist())
    assert set(counts) == set(range(K))
    assert max(abs(count / drawn.size - 1 / K) for count in counts.values()) < 0.05
    other = PositivePairs(images, tmp_path / "bank", seed=1)
    assert (other.chosen(places, 0) != drawn[0]).any()
    pairs.set_epoch(7)
    assert pairs.epoch == 7
    assert pairs.chosen(places).tolist() == drawn[7].tolist()
    for wrong in (-1, 2**32):
        with pytest.raises(ValueError, match=f"epoch {wrong}"):
            pairs.set_epoch(wrong)


def test_workers_that_live_on_draw_what_one_process_draws_in_every_epoch(pairs):
    """A dataset's copy in a worker would keep the epoch that it was made with."""
    many = DataLoader(
        pairs, 2, num_workers=2, persistent_workers=True, multiprocessing_context="fork", collate_fn=collate_pairs
    )
    found = []
    for epoch in range(4):
        pairs.set_epoch(epoch)
        one = seen(DataLoader(pairs, 3, shuffle=True, collate_fn=collate_pairs))
        assert seen(many) == one
        assert one == dict(zip(IDS.tolist(), pairs.chosen(range(7), epoch).tolist()))
        found.append(one)
    assert found[0] != found[1]


def test_a_worker_that_is_spawned_sees_the_epoch_too(images, tmp_path):
    pairs = PositivePairs(images, tmp_path / "bank", transform=torch.clone)
    loader = DataLoader(
        pairs, 7, num_workers=1, persistent_workers=True, multiprocessing_context="spawn", collate_fn=collate_pairs
    )
    for epoch in (0, 1, 5):
        pairs.set_epoch(epoch)
        assert list(seen(loader).values()) == pairs.chosen(range(7), epoch).tolist()


def test_processes_draw_together_what_one_process_draws(pairs):
    pairs.set_epoch(3)
    parts = {}
    for rank in range(2):
        sampler = DistributedSampler(pairs, num_replicas=2, rank=rank)
        sampler.set_epoch(3)
        parts |= seen(DataLoader(pairs, 2, sampler=sampler, collate_fn=collate_pairs))
    assert parts == seen(DataLoader(pairs, 7, collate_fn=collate_pairs))


def test_a_pickled_bank_holds_no_pixels(pairs):
    packed = pickle.dumps(pairs.bank)
    assert len(packed) < 1000
    assert pickle.loads(packed)[[5], 2].tolist() == pairs.bank[[5], 2].tolist()


def test_batches_are_those_of_lightlys_own_collate(pairs):
    batch = [pairs[place] for place in (4, 0, 2)]
    ours, theirs = collate_pairs(batch), MultiViewCollate()(batch)
    assert [a.equal(b) for a, b in zip(ours[0], theirs[0], strict=True)] == [True, True]
    assert ours[1].equal(theirs[1])
    assert ours[1].dtype == torch.int64
    assert ours[2] == theirs[2] == ["13.png", "2.png", "5.png"]
    usual = next(iter(DataLoader(pairs, 3)))
    assert [type(part) for part in usual] == [list, torch.Tensor, tuple]


def test_views_of_the_anchor_come_before_the_candidate(images, tmp_path):
    pairs = PositivePairs(images, tmp_path / "bank", anchor_views=2)
    views, _, _ = pairs[1]
    assert [float(view[0, 0, 0] * 255) for view in views] == [3.0, 3.0, 3.0]
    assert views[0].dtype == torch.float32
    assert views[0][0, 0, 1] == 0
    assert round(float(views[2][0, 0, 1] * 255)) == pairs.chosen([1])[0]
    with pytest.raises(ValueError, match="anchor_views is 0"):
        PositivePairs(images, tmp_path / "bank", anchor_views=0)


def test_lightlys_view_transform_serves_and_its_transform_of_two_views_is_refused(images, tmp_path):
    options = {"input_size": 8, "cj_prob": 0.0, "gaussian_blur": 0.0, "normalize": None}
    views, _, _ = PositivePairs(images, tmp_path / "bank", transform=SimCLRViewTransform(**options))[0]
    assert [(view.shape, view.dtype) for view in views] == [((1, 8, 8), torch.float32)] * 2
    with pytest.raises(UserError, match="gives a list, not one tensor: give the transform of one view"):
        PositivePairs(images, tmp_path / "bank", transform=SimCLRTransform(**options))[0]


def test_a_bank_of_other_images_is_refused_and_so_is_none(images, make_images, tmp_path):
    with pytest.raises(UserError, match="belongs to other data"):
        PositivePairs(make_images(), tmp_path / "bank")
    with pytest.raises(UserError, match="no bank there"):
        PositivePairs(images, tmp_path)


def test_images_without_labels_have_label_minus_one(images, tmp_path):
    bare = Images(source="made", train=Split(images=images.train.images, names=images.train.names))
    manifest = files.read_json(tmp_path / "bank" / "manifest.json")
    manifest["data"]["fingerprint"] = bare.fingerprint
    files.write_json(tmp_path / "bank" / "manifest.json", manifest)
    assert PositivePairs(bare, PositiveBank.open(tmp_path / "bank"))[0][1] == -1


class Notes(pl.LightningModule):
    """Notes which candidates arrive in which epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.found = {}

    def training_step(self, batch, number):
        (anchors, candidates), _, _ = batch
        known = self.found.setdefault(self.current_epoch, {})
        known |= dict(zip(anchors[:, 0, 0, 0].tolist(), candidates[:, 0, 0, 1].tolist()))
        return self.weight * 1.0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("workers", [0, 1])
def test_lightning_sets_the_epoch_and_goes_on_with_it_from_a_checkpoint(pairs, tmp_path, workers):
    def fit(epochs, checkpoint=None, callbacks=None):
        module = Notes()
        loader = DataLoader(pairs, 2, num_workers=workers, persistent_workers=workers > 0, collate_fn=collate_pairs)
        callbacks = [clsp.SetEpoch(pairs)] if callbacks is None else callbacks
        trainer = pl.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False, default_root_dir=tmp_path, callbacks=callbacks,
        )  # fmt: skip
        trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=False)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return module.found

    wanted = [dict(zip(IDS.tolist(), pairs.chosen(range(7), epoch).tolist())) for epoch in range(4)]
    assert fit(2) == dict(enumerate(wanted[:2]))
    pairs.set_epoch(0)
    assert fit(4, tmp_path / "last.ckpt") == {2: wanted[2], 3: wanted[3]}
    pairs.set_epoch(0)
    assert fit(2, callbacks=[]) == {0: wanted[0], 1: wanted[0]}  # without it every epoch is the first


def test_the_example_learns_from_the_candidates_of_a_bank(tmp_path, monkeypatch, capsys):
    """Of a smoke bank of the digits: the script runs as it stands, and its training lowers the loss."""
    for line in ("diffusion --out model", "synthesize --diffusion model --out bank"):
        done = shared().clsp(*line.split(), "--data", "digits", "--recipe", "smoke", folder=tmp_path)
        assert done.status == 0, done.err
    monkeypatch.setattr(sys, "argv", ["lightly_simclr.py", str(tmp_path / "bank"), "1"])
    runpy.run_path(str(ROOT / "examples" / "lightly_simclr.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("epoch 0: loss ")
    arrived = []
    monkeypatch.setattr(clsp, "collate_pairs", lambda batch: arrived.append(collate_pairs(batch)) or arrived[-1])
    pairs = PositivePairs(clsp.images_of(tmp_path / "bank"), tmp_path / "bank")
    torch.manual_seed(0)
    train = runpy.run_path(str(ROOT / "examples" / "lightly_simclr.py"))["train"]
    losses = train(pairs, epochs=6, name="test_resnet", batch_size=32)
    assert losses[-1] < 0.8 * losses[0]
    assert len(arrived) == 6 * len(pairs) // 32
    place = {pairs.images.train.names[number]: row for row, number in enumerate(pairs.bank.ids)}
    for step, ((anchors, candidates), _, names) in enumerate(arrived):
        rows = np.array([place[name] for name in names])
        drawn = pairs.bank.read(rows, pairs.chosen(rows, epoch=step // 2))
        assert (candidates * 255).round().to(torch.uint8).numpy().tolist() == drawn.tolist()
        assert not anchors.equal(candidates)
