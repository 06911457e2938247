"""Philox: the published vectors, and what the rest of the library relies on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from clsp import randomness
from clsp.images.imageset import subset

F = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([F] * 4, [F] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_random123s_known_answers(counter, key, expected):
    words = randomness.philox(tuple(torch.tensor([c]) for c in counter), tuple(key))
    assert [int(word) for word in words] == expected


def test_a_row_does_not_depend_on_the_rest_of_the_batch():
    ids = torch.tensor([5, 0, 70_000, 5, 4_000_000_000])
    whole = randomness.normal(3, "s", (ids, 7), (2, 5))
    for row, number in enumerate(ids.tolist()):
        assert torch.equal(whole[row], randomness.normal(3, "s", (number, 7), (2, 5))[0])
    assert torch.equal(whole.flip(0), randomness.normal(3, "s", (ids.flip(0), torch.full((5,), 7)), (2, 5)))
    assert torch.equal(whole[0], whole[3])
    assert len(whole.unique(dim=0)) == 4


def test_a_shorter_draw_of_words_begins_the_longer():
    assert torch.equal(randomness.bits(0, "s", (1,), 5), randomness.bits(0, "s", (1,), 11)[:, :5])


@pytest.mark.parametrize(
    "other", [(1, "s", (2, 3)), (0, "t", (2, 3)), (0, "s", (3, 2)), (0, "s", (2, 4)), (0, "s", (2, 3, 1))]
)
def test_seed_stream_and_every_coordinate_name_other_numbers(other):
    first, second = randomness.bits(0, "s", (2, 3), 4000)[0], randomness.bits(*other, 4000)[0]
    assert int((first == second).sum()) == 0
    assert abs(float(np.corrcoef(first.numpy(), second.numpy())[0, 1])) < 0.06


@pytest.mark.parametrize("coordinates", [(), (1, 2, 3, 4)])
def test_other_numbers_of_coordinates_are_refused(coordinates):
    with pytest.raises(ValueError, match="one to three"):
        randomness.bits(0, "s", coordinates, 1)


def test_uniform_is_uniform_and_open_at_both_ends():
    drawn = randomness.uniform(0, "u", (torch.arange(200),), 500).flatten().numpy().astype(np.float64)
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("shape", [(500,), (5, 10, 10), (499,), (1,)])
def test_normal_is_standard_normal(shape):
    drawn = randomness.normal(0, "n", (torch.arange(400), 1), shape)
    assert drawn.shape == (400, *shape)
    values = drawn.flatten().numpy().astype(np.float64)
    assert stats.kstest(values, "norm").pvalue > 1e-3
    n = len(values)
    assert abs(values.mean()) < 4 / n**0.5
    assert abs(values.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((values**4).mean() - 3) < 4 * (96 / n) ** 0.5


def test_numbers_within_and_between_rows_are_uncorrelated():
    drawn = randomness.normal(0, "n", (torch.arange(3000),), (6,)).double().numpy()
    assert np.abs(np.corrcoef(drawn.T) - np.eye(6)).max() < 0.08
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.08


@pytest.mark.parametrize("high", [1, 2, 7, 1000])
def test_integers_are_uniform_below_high(high):
    drawn = randomness.integers(0, "i", (torch.arange(100),), high, 200).flatten().numpy()
    assert drawn.min() >= 0
    assert drawn.max() < high
    assert high == 1 or stats.chisquare(np.bincount(drawn, minlength=high)).pvalue > 1e-3


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_permutation_is_one_and_each_epoch_has_its_own(size):
    first, second = (randomness.permutation(0, "p", epoch, size) for epoch in (0, 1))
    assert sorted(first.tolist()) == list(range(size))
    assert torch.equal(first, randomness.permutation(0, "p", 0, size))
    assert size < 1000 or not torch.equal(first, second)


def test_every_permutation_is_equally_likely():
    orders = [tuple(randomness.permutation(0, "p", epoch, 3).tolist()) for epoch in range(1200)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


def test_subsets_of_a_seed_are_nested_and_sorted():
    sizes = [0, 1, 10, 99, 100]
    chosen = [subset(100, size, seed=4) for size in sizes]
    assert [len(c) for c in chosen] == sizes
    for smaller, larger in itertools.pairwise(chosen):
        assert set(smaller.tolist()) <= set(larger.tolist())
        assert (np.diff(larger) > 0).all()
    assert not np.array_equal(subset(100, 10, seed=4), subset(100, 10, seed=5))
    assert np.array_equal(subset(100, None, seed=4), subset(100, 1000, seed=4))
