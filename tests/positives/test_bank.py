"""The bank: what is written is found again by dataset index, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from scipy import stats

from clsp import files
from clsp.diffusion.unet import build_scheduler, build_unet
from clsp.engine.hardware import HardwareConfig
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.files import proof
from clsp.positives.bank import FORMAT, PositiveBank
from clsp.positives.config import SynthesizeConfig
from clsp.positives.sources.bank import Candidates
from clsp.positives.sources.view import RealView
from clsp.positives.synthesize import synthesize

IDS = np.array([2, 3, 5, 8, 13, 21, 34])
K = 4


def write_bank(folder, *, sizes=(3, 3, 1)):
    """A bank of 2 x 2 pixels: the first is the anchor's index, the second the candidate's number."""
    whole = np.zeros((len(IDS), K, 2, 2, 1), np.uint8)
    whole[:, :, 0, 0, 0], whole[:, :, 0, 1, 0] = IDS[:, None], np.arange(K)
    shards, first = [], 0
    for size in sizes:
        path = folder / f"shard-{first:08d}.npy"
        files.write_array(path, whole[first : first + size])
        shards.append({"file": path.name, "first": first, "count": size, "sha256": files.file_hash(path)})
        first += size
    files.write_array(folder / "ids.npy", IDS)
    data = {"source": "made", "fingerprint": "f" * 16}
    manifest = {"format": FORMAT, "candidates": K, "shape": [2, 2, 1], "data": data, "shards": shards}
    files.write_json(folder / "manifest.json", manifest)
    return folder


@pytest.fixture
def bank(tmp_path):
    return PositiveBank.open(write_bank(tmp_path / "bank"), verify=True)


def test_candidates_are_found_by_dataset_index_in_any_order(bank):
    ids, candidates = torch.tensor([34, 2, 2, 13, 8, 5]), torch.tensor([0, 3, 1, 2, 2, 0])
    images = bank[ids, candidates]
    assert images.shape == (6, 1, 2, 2)
    assert images.dtype == torch.uint8
    assert images[:, 0, 0, 0].tolist() == ids.tolist()
    assert images[:, 0, 0, 1].tolist() == candidates.tolist()
    assert bank[[21, 3], 1][:, 0, 0].tolist() == [[21, 1], [3, 1]]
    assert bank[8, 3].shape == (1, 1, 2, 2)
    assert len(bank) == 7
    assert bank.array(np.array([6, 0]))[:, :, 0, 0].tolist() == [
        [[34, c] for c in range(K)],
        [[2, c] for c in range(K)],
    ]


@pytest.mark.parametrize("wrong", [[4], [2, 99], [-1], [35, 1]])
def test_anchors_without_candidates_are_refused(bank, wrong):
    missing = [i for i in wrong if i not in IDS]
    text = rf"no candidates for {len(missing)} of the {len(wrong)} anchors \(first: {missing[0]}\)"
    with pytest.raises(UserError, match=text):
        bank[wrong, 0]


@pytest.mark.parametrize("candidate", [-1, K, [0, K]])
def test_candidates_that_do_not_exist_are_refused(bank, candidate):
    with pytest.raises(IndexError):
        bank[[2, 3], candidate]


def test_a_bank_of_other_data_is_refused(bank):
    bank.require_data("f" * 16, "made")
    with pytest.raises(UserError, match=r"belongs to other data \(made"):
        bank.require_data("0" * 16, "others")


@pytest.mark.parametrize("damage", ["truncated", "missing", "empty", "other shape", "pickle"])
def test_a_damaged_shard_is_named(tmp_path, damage):
    path = write_bank(tmp_path) / "shard-00000003.npy"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        files.write_array(path, np.zeros((3, K, 2, 2), np.uint8))
    with pytest.raises(UserError, match=r"shard .*shard-00000003.npy .*clsp synthesize"):
        PositiveBank.open(tmp_path)


@pytest.mark.parametrize("large", [False, True])
def test_a_flipped_bit_is_found(tmp_path, monkeypatch, large):
    """At once, or of a large shard in the background."""
    monkeypatch.setattr(proof, "_AT_ONCE", 10 if large else 10**6)
    path = write_bank(tmp_path) / "shard-00000006.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"shard-00000006.npy.* changed or damaged after it was made"):
        PositiveBank.open(tmp_path, verify=large)


@pytest.mark.parametrize("name", ["../outside.npy", "/etc/outside.npy", "below/outside.npy"])
def test_a_manifest_cannot_name_files_outside_the_bank(tmp_path, name):
    folder = write_bank(tmp_path / "bank")
    (tmp_path / "outside.npy").write_bytes((folder / "shard-00000000.npy").read_bytes())
    manifest = files.read_json(folder / "manifest.json")
    manifest["shards"][0]["file"] = name
    files.write_json(folder / "manifest.json", manifest)
    with pytest.raises(UserError, match="outside of it"):
        PositiveBank.open(folder)


def test_no_bank_and_a_bank_of_another_format_are_refused(tmp_path):
    with pytest.raises(UserError, match="no bank there"):
        PositiveBank.open(tmp_path)
    files.write_json(write_bank(tmp_path) / "manifest.json", {"format": "clsp-bank-9"})
    with pytest.raises(UserError, match="'clsp-bank-9' is not"):
        PositiveBank.open(tmp_path)


@pytest.mark.parametrize("limit", [0, 10**9], ids=["on disk", "in memory"])
def test_generated_draws_the_anchors_own_candidates_uniformly(bank, monkeypatch, limit):
    monkeypatch.setattr(Pixels, "LIMIT", limit)
    trained = np.array([21, 2, 13, 8])  # a part of the bank, in another order
    source = Candidates(bank, trained, seed=0, device=torch.device("cpu"))
    assert (source._resident is None) == (limit == 0)
    positions, anchors = torch.tensor([3, 0, 0, 2, 1]), torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    drawn = torch.stack([source(positions, anchors, step).images for step in range(200)])
    assert (drawn[:, :, 0, 0, 0] == torch.from_numpy(trained)[positions]).all()
    chosen = drawn[:, :, 0, 0, 1]
    for place in (0, 1, 3, 4):
        assert stats.chisquare(torch.bincount(chosen[:, place], minlength=K).numpy()).pvalue > 1e-3
    assert torch.equal(chosen[:, 1], chosen[:, 2])  # a function of the image, not of its place
    assert float((chosen[:, 0] == chosen[:, 1]).float().mean()) < 0.5
    assert torch.equal(source(positions.flip(0), anchors, 5).images, drawn[5].flip(0))


def test_generated_refuses_anchors_that_the_bank_lacks(bank):
    with pytest.raises(UserError, match="no candidates for 1 of the 2"):
        Candidates(bank, np.array([2, 4]), seed=0, device=torch.device("cpu"))


def test_the_real_view_is_the_anchor():
    anchors = torch.randint(0, 256, (3, 1, 2, 2), dtype=torch.uint8)
    draw = RealView().build(None, seed=0, device=torch.device("cpu"))
    assert torch.equal(draw(torch.arange(3), anchors, 7).images, anchors)


@pytest.fixture
def unet(tiny_diffusion):
    torch.manual_seed(0)
    return build_unet(tiny_diffusion(), channels=3, size=8).eval()


@pytest.fixture
def model(unet, tiny_diffusion, tmp_path):
    DDPMPipeline(unet=unet, scheduler=build_scheduler(tiny_diffusion())).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def make(images, model, folder, **changes):
    settings = {"anchors": 10, "candidates": 2, "steps": 2, "eta": 1.0, "clip_sample": True, "batch_size": 8,
                "shard_anchors": 4, "precision": "32"}  # fmt: skip
    hardware = HardwareConfig(accelerator="cpu")
    config = SynthesizeConfig(**{**settings, **changes})
    return synthesize(images, model, config, hardware, seed=0, folder=folder)


def test_a_bank_does_not_depend_on_batches_shards_or_kills(make_images, model, tmp_path, monkeypatch):
    images = make_images(20, size=8)
    bank = make(images, model, tmp_path / "a")
    whole = bank.array(np.arange(10)).astype(int)
    assert [len(shard) for shard in bank._shards] == [4, 4, 2]
    assert bank.ids.tolist() == sorted(set(bank.ids.tolist()))
    other = make(images, model, tmp_path / "b", batch_size=3, shard_anchors=7).array(np.arange(10))
    assert np.abs(other - whole).max() <= 1
    monkeypatch.setenv("CLSP_FAULT", "shard:3:enospc")
    with pytest.raises(OSError, match="No space"):
        make(images, model, tmp_path / "c")
    with pytest.raises(UserError, match="no bank there"):
        PositiveBank.open(tmp_path / "c")
    kept = (tmp_path / "c/shard-00000000.npy").stat().st_mtime_ns
    monkeypatch.delenv("CLSP_FAULT")
    resumed = make(images, model, tmp_path / "c")
    assert (tmp_path / "c/shard-00000000.npy").stat().st_mtime_ns == kept
    hashes = [[entry["sha256"] for entry in b.manifest["shards"]] for b in (bank, resumed)]
    assert hashes[0] == hashes[1]
    monkeypatch.setenv("CLSP_FAULT", "draw:1:oom")
    halves = make(images, model, tmp_path / "d").array(np.arange(10))
    assert np.abs(halves - whole).max() <= 1


def test_a_bank_drawn_before_an_option_existed_is_the_bank_of_its_default(make_images, model, tmp_path):
    images = make_images(20, size=8)
    before = make(images, model, tmp_path / "a").fingerprint
    record = files.read_json(tmp_path / "a" / "stage.json")
    del record["settings"]["guidance_scale"], record["sha256"], record["files"]
    files.write_json(tmp_path / "a" / "stage.json", record)
    assert make(images, model, tmp_path / "a").fingerprint == before
    with pytest.raises(UserError, match=r"guidance_scale 1.0 -> 2.0"):
        make(images, model, tmp_path / "a", guidance_scale=2.0)


def test_the_fingerprint_is_that_of_what_the_bank_holds_and_not_of_how_it_was_asked_for(make_images, model, tmp_path):
    images = make_images(20, size=8)
    bank = make(images, model, tmp_path / "a")
    now = bank.fingerprint
    bank.manifest["sampler"].pop("guidance_scale")  # as an older version wrote it
    assert bank.fingerprint == now
    assert make(images, model, tmp_path / "b", guidance_scale=2.0).fingerprint != now
    bank.manifest["shards"][1]["sha256"] = "0" * 64
    assert bank.fingerprint != now


def test_a_bank_is_the_pipelines_images_of_its_anchors(make_images, model, tmp_path):
    from clsp import SyntheticPositivePipeline

    images = make_images(20, size=8)
    bank = make(images, model, tmp_path / "a")
    pipeline = SyntheticPositivePipeline.from_pretrained(model, clip_sample=True)
    anchors = torch.from_numpy(images.train.images[bank.ids]).float() / 127.5 - 1
    drawn = pipeline(anchors, 2, num_inference_steps=2, eta=1.0, anchor_ids=bank.ids).images.numpy()
    assert np.abs(bank.array(np.arange(10)).astype(int) - drawn).max() <= 1
    bank.require_data(images.fingerprint, "made")


def test_candidates_may_start_from_other_anchors_whatever_is_drawn_at_once(make_images, model, tmp_path):
    from clsp import SyntheticPositivePipeline

    images = make_images(20, size=8)
    how = {"strength": 0.5, "start": "other", "steps": 4, "sampler": "dpmsolver++"}
    two = make(images, model, tmp_path / "two", anchors=2, **how)
    pipeline = SyntheticPositivePipeline.from_pretrained(model, sampler="dpmsolver++", clip_sample=True)
    anchors = torch.from_numpy(images.train.images[two.ids]).float() / 127.5 - 1
    others = anchors.flip(0)[:, None].expand(-1, 2, -1, -1, -1)  # of two, the other is the other one
    drawn = pipeline(anchors, 2, num_inference_steps=4, strength=0.5, anchor_ids=two.ids, starts=others).images
    assert np.abs(two.array(np.arange(2)).astype(int) - drawn.numpy()).max() <= 1
    whole, parts = (
        make(images, model, tmp_path / name, batch_size=size, shard_anchors=size, **how).array(np.arange(10))
        for name, size in (("whole", 512), ("parts", 3))
    )
    assert np.abs(whole.astype(int) - parts).max() <= 1
    near = make(images, model, tmp_path / "near", **{**how, "start": "anchor"}).array(np.arange(10))
    assert np.abs(whole.astype(int) - near).mean() > 5
    with pytest.raises(UserError, match="at least 2 anchors"):
        make(images, model, tmp_path / "one", anchors=1, **how)


def test_a_moved_model_is_the_same_and_another_ones_bank_is_made_beside_the_old_one(
    make_images, model, unet, tiny_diffusion, tmp_path
):
    images = make_images(20, size=8)
    old = make(images, model, tmp_path / "a").fingerprint
    model.rename(tmp_path / "moved")
    assert len(make(images, tmp_path / "moved", tmp_path / "a")) == 10  # done before
    with torch.no_grad():
        unet.conv_out.bias.add_(0.1)
    DDPMPipeline(unet=unet, scheduler=build_scheduler(tiny_diffusion())).save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="candidates 2 -> 3"):
        make(images, tmp_path / "other", tmp_path / "a", candidates=3)
    assert make(images, tmp_path / "other", tmp_path / "a").fingerprint != old
    (kept,) = (tmp_path / "a/superseded").iterdir()
    assert PositiveBank.open(kept, verify=True).fingerprint == old
    with pytest.raises(UserError, match="candidates 2 -> 3"):
        make(images, tmp_path / "moved", tmp_path / "a", candidates=3)


def test_a_model_of_other_channels_is_refused(make_images, model, tmp_path):
    with pytest.raises(UserError, match=r"set --images.channels 3"):
        make(make_images(20, size=8, channels=1), model, tmp_path / "a")
    assert not (tmp_path / "a").exists()
