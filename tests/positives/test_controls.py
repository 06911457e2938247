"""The positives that the bank is measured against."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_bank import K, write_bank

from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.images.config import AugmentConfig
from clsp.positives.bank import PositiveBank
from clsp.positives.inflation import inflated, weaker
from clsp.positives.source import Material
from clsp.positives.sources import SOURCES
from clsp.positives.sources.class_ import SameClass
from clsp.positives.sources.nearest import Nearest
from clsp.positives.sources.noise import Noised, add_noise, matching_noise
from clsp.positives.sources.random import OtherImage

CPU = torch.device("cpu")


def numbered(count):
    """Images whose first pixel is their place."""
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 2, 2), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return Pixels(images).to(CPU)


def material(pixels, labels=None):
    return Material(pixels, np.arange(len(pixels)), labels, np.empty(0), [])


def places(source, positions, steps=400):
    positions = torch.as_tensor(positions)
    anchors = torch.zeros(len(positions), 1, 2, 2, dtype=torch.uint8)
    return torch.stack([source(positions, anchors, step).images[:, 0, 0, 0] for step in range(steps)]).int()


def test_another_image_is_any_but_the_anchor():
    drawn = places(OtherImage(numbered(5), seed=0), [0, 3])
    assert sorted(drawn[:, 0].unique().tolist()) == [1, 2, 3, 4]
    assert sorted(drawn[:, 1].unique().tolist()) == [0, 1, 2, 4]
    assert drawn[:, 0].bincount()[1:].min() > 60


def test_an_image_of_the_class_bears_the_label_and_one_without_label_stays_itself():
    labels = np.array([2, 0, 2, -1, 0, 2, 7])
    drawn = places(SameClass().build(material(numbered(7), labels), seed=0, device=CPU), [0, 1, 3, 6])
    assert [sorted(column.unique().tolist()) for column in drawn.T] == [[0, 2, 5], [1, 4], [3], [6]]
    assert drawn[:, 0].bincount()[[0, 2, 5]].min() > 90
    with pytest.raises(UserError, match="need labels"):
        SameClass().build(material(numbered(3)), seed=0, device=CPU)


def test_nearest_images_are_those_of_the_highest_cosine_and_never_the_anchor():
    rng = np.random.default_rng(1)
    centres = rng.integers(0, 256, (3, 1, 4, 4))
    images = np.concatenate([(c + rng.integers(-3, 4, (4, 1, 4, 4))).clip(0, 255) for c in centres]).astype(np.uint8)
    nearest = Nearest(neighbours=3)
    source = nearest.build(material(Pixels(images).to(CPU)), seed=0, device=CPU)
    lists = source.flat.view(12, 3)
    for place, found in enumerate(lists.tolist()):
        assert sorted([place, *found]) == [4 * (place // 4) + i for i in range(4)]
    large = images.repeat(20, axis=2).repeat(20, axis=3)  # 80 pixels: 32 x 32 fields are compared
    stripes = 40 * (np.arange(80) % 2).astype(np.uint8)  # finer than a field
    large[::2] = np.maximum(large[::2], stripes) // 2 + large[::2] // 2
    again = nearest.build(material(Pixels(large).to(CPU)), seed=0, device=CPU).flat.view(12, 3)
    for place, found in enumerate(again.tolist()):
        assert sorted([place, *found]) == [4 * (place // 4) + i for i in range(4)]
    two = nearest.build(material(Pixels(images[:2]).to(CPU)), seed=0, device=CPU)
    assert two.flat.tolist() == [1, 0]


@pytest.fixture
def bank(tmp_path):
    write_bank(tmp_path)
    return PositiveBank.open(tmp_path)


def test_noise_is_as_far_from_the_anchors_as_the_candidates_are(bank):
    images = np.random.default_rng(2).integers(0, 256, (40, 1, *bank.manifest["shape"][:2]), dtype=np.uint8)
    strength = matching_noise(images, bank, bank.ids)
    anchors = torch.from_numpy(images[bank.ids]).float() / 255
    wanted = float(((torch.from_numpy(bank.array(np.arange(len(bank)))) / 255 - anchors[:, None]) ** 2).mean())
    many = anchors.repeat(200, 1, 1, 1)
    noised = add_noise(many, torch.randn(many.shape, generator=torch.Generator().manual_seed(0)), strength)
    assert float(((noised - many) ** 2).mean()) == pytest.approx(wanted, rel=0.3)
    source = Noised(0.1, bank.ids, seed=0, device=CPU)
    grey = torch.full((2, 1, 2, 2), 128, dtype=torch.uint8)
    first = source(torch.tensor([1, 4]), grey, 3).images
    assert torch.equal(first.flip(0), source(torch.tensor([4, 1]), grey, 3).images)
    assert not torch.equal(first, source(torch.tensor([1, 4]), grey, 4).images)
    assert not torch.equal(first[0], first[1])


def test_inflation_augments_less():
    less = weaker(AugmentConfig())
    assert (less.crop_scale, less.jitter) == ([0.2, 1.0], 0.4)
    assert weaker(AugmentConfig(crop_scale=[0.5, 0.9], jitter=0.1)) == AugmentConfig(crop_scale=[0.5, 0.9], jitter=0.1)


def test_inflation_is_read_where_it_lies_and_equals_the_images_and_candidates_put_together(bank, monkeypatch):
    images = np.random.default_rng(2).integers(0, 256, (40, 1, *bank.manifest["shape"][:2]), dtype=np.uint8)
    some = bank.ids[1:6]
    lazy, ids = inflated(images, some, bank)
    candidates, (real, drawn) = bank.array(bank.rows(some)).reshape(-1, *images.shape[1:]), (K // 2, 1)
    if K % 2:
        real, drawn = K, 2
    whole = np.concatenate([images[some]] * real + [candidates] * drawn)
    assert (lazy.shape, lazy.dtype, len(ids)) == (whole.shape, whole.dtype, len(whole))
    assert np.array_equal(lazy, whole)
    places = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    for limit in (Pixels.LIMIT, 0):  # copied once to where it is used, or read batch by batch
        monkeypatch.setattr(Pixels, "LIMIT", limit)
        assert np.array_equal(Pixels(lazy).to(CPU)[places].numpy(), whole[places.numpy()])


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
def test_a_third_of_an_inflation_is_real_and_no_two_images_are_changed_alike(k):
    candidates = np.random.default_rng(3).integers(0, 256, (6, k, 2, 2, 1), dtype=np.uint8)
    bank = PositiveBank(None, {"candidates": k, "shape": [2, 2, 1]}, np.arange(6) + 10, [candidates])
    images = np.random.default_rng(2).integers(0, 256, (40, 1, 2, 2), dtype=np.uint8)
    lazy, ids = inflated(images, np.array([11, 14]), bank)
    pixels, known = np.asarray(lazy), 40 + 6 * k
    assert len(set(ids.tolist())) == len(ids) == len(pixels)
    real = ids % known < 40
    assert 3 * real.sum() == len(ids)
    assert np.array_equal(pixels[real], images[ids[real] % known])
    rows, numbers = np.divmod(ids[~real] % known - 40, k)
    assert set(rows) == {1, 4} and np.array_equal(pixels[~real], candidates[rows, numbers].transpose(0, 3, 1, 2))


IMAGES = [name for name, source in SOURCES.items() if source.level == "image"]


@pytest.mark.parametrize("name", IMAGES)
def test_every_source_gives_images_of_the_anchors_shape_or_says_what_it_lacks(bank, tmp_path, name):
    shape = bank.manifest["shape"][:2]
    images = np.random.default_rng(2).integers(0, 256, (40, 1, *shape), dtype=np.uint8)
    pixels = Pixels(images, bank.ids).to(CPU)
    names = [f"video{i % 3}/{i}.png" for i in range(40)]
    file = tmp_path / "pairs.csv"
    file.write_text(f"first,second,weight\n{names[bank.ids[0]]},{names[bank.ids[3]]},0.5\n{names[0]},{names[39]},1\n")
    source = SOURCES[name](**({"file": str(file)} if name == "pairs" else {}))
    draw = source.build(Material(pixels, bank.ids, np.arange(len(bank)) % 2, images, names, bank), seed=0, device=CPU)
    positions = torch.tensor([0, 3, 1])
    drawn, again = (draw(positions, pixels[positions], 5) for _ in range(2))
    assert drawn.images.dtype == torch.uint8 and drawn.images.shape == (3, 1, *shape)
    assert torch.equal(drawn.images, again.images)
    for part in (drawn.weights, drawn.mates, drawn.ids):
        assert part is None or part.shape == (3,)
    assert (drawn.mates is None) == source.one_anchor
    bare = Material(pixels, bank.ids, None, images, names)
    for needed, told in ((source.needs_bank, "need a bank"), (source.needs_labels, "need labels")):
        if needed:
            with pytest.raises(UserError, match=f"positives '{name}' {told}"):
                source.build(bare, seed=0, device=CPU)


def test_nearest_images_are_as_many_as_candidates_unless_it_is_said_otherwise(bank):
    images = np.random.default_rng(2).integers(0, 256, (40, 1, 2, 2), dtype=np.uint8)
    for source, made, expected in ((Nearest(), bank, K), (Nearest(neighbours=2), bank, 2), (Nearest(), None, 4)):
        pixels = Pixels(images, np.arange(40)).to(CPU)
        drawn = source.build(Material(pixels, np.arange(40), None, images, [], made), seed=0, device=CPU)
        assert len(drawn.flat) == 40 * expected
