"""Patches that avoid each other: the geometry, the odds, and the draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from clsp.images.augment import Crops, augment, draw_crops
from clsp.images.config import AugmentConfig
from clsp.images.patches import draw_patches, free_shares, log_weights

GRID = (4, 4)


def crop(left, top, width, height, flip=False, count=1):
    return Crops(*(torch.full((count,), float(v)) for v in (left, top, width, height)), torch.full((count,), flip))


def free(chosen, first, other, grid=GRID):
    return free_shares(torch.tensor([chosen]), first, other, grid)[0]


def uniform(count, cells=16):
    return torch.zeros(count, cells)


def draws(weights, count=4, seed=0, step=0, ids=None, view=1):
    ids = torch.arange(len(weights)) if ids is None else ids
    return draw_patches(weights, count, seed=seed, step=step, ids=ids, view=view)


def random_crops(count, view):
    ids = torch.arange(count)
    return draw_crops(AugmentConfig(), seed=0, step=0, ids=ids, views=torch.full_like(ids, view))


# --- which cells are free --------------------------------------------------------------------------------------------


def test_the_same_box_twice_covers_the_chosen_cells_alone():
    box = crop(0.2, 0.3, 0.37, 0.51)
    shares = free([1, 6, 12], box, box)
    assert shares[[1, 6, 12]].abs().max() < 1e-5
    torch.testing.assert_close(shares.sum(), torch.tensor(13.0), rtol=0, atol=1e-4)


def test_boxes_that_do_not_meet_leave_all_cells_free():
    shares = free(range(16), crop(0.0, 0.0, 0.4, 0.4), crop(0.5, 0.0, 0.4, 0.4))
    assert torch.equal(shares, torch.ones(16))


def test_half_a_cell_aside_covers_half_of_two_cells():
    """View 2 lies half a cell to the right: the chosen cell covers the right half of one and the left of the next."""
    shares = free([5], crop(0.0, 0.0, 0.4, 0.4), crop(0.05, 0.0, 0.4, 0.4))
    expected = torch.ones(16)
    expected[[4, 5]] = 0.5
    torch.testing.assert_close(shares, expected, rtol=0, atol=1e-5)
    weights = log_weights(shares[None], 3.0)[0].exp()
    torch.testing.assert_close(weights, expected**3, rtol=0, atol=1e-4)


def test_a_flip_turns_the_columns():
    straight, turned = crop(0.1, 0.1, 0.8, 0.8), crop(0.1, 0.1, 0.8, 0.8, flip=True)
    for first, other, column in ((straight, turned, 3), (turned, straight, 3), (turned, turned, 0)):
        gone = (free([4], first, other) < 1e-5).nonzero().flatten().tolist()
        assert gone == [4 + column]


def test_shares_are_those_of_pixels_that_were_painted():
    """Chosen cells of view 1 are painted in an image; augmenting the image shows what view 2 sees of them."""
    side, cells, count = 240, 4, 40
    config = AugmentConfig(crop_scale=[0.3, 0.8], jitter=0.0, gray=0.0)
    ids = torch.arange(count)
    first, second = (
        draw_crops(config, seed=1, step=2, ids=ids, views=torch.full_like(ids, number)) for number in range(2)
    )
    chosen = draws(uniform(count), count=5)
    painted = torch.zeros(count, 1, side, side, dtype=torch.uint8)
    for image, places, left, top, width, height, flip in zip(painted, chosen.tolist(), *first):
        for place in places:
            row, column = divmod(place, cells)
            column = cells - 1 - column if flip else column
            x, y, w, h = (round(float(v) * side) for v in (left, top, width, height))
            image[0, y + row * h // cells : y + (row + 1) * h // cells][
                :, x + column * w // cells : x + (column + 1) * w // cells
            ] = 255
    seen = augment(painted, config, seed=1, step=2, ids=ids, views=torch.ones_like(ids))
    covered = torch.nn.functional.avg_pool2d(seen, side // cells)[:, 0].flatten(1)
    torch.testing.assert_close(1 - free_shares(chosen, first, second, GRID), covered, rtol=0, atol=0.06)


def test_the_grid_may_have_more_columns_than_rows():
    box = crop(0.1, 0.1, 0.6, 0.4)
    gone = (free([7], box, box, (2, 5)) < 1e-5).nonzero().flatten().tolist()
    assert gone == [7]
    turned = crop(0.1, 0.1, 0.6, 0.4, flip=True)
    assert (free([6], box, turned, (2, 5)) < 1e-5).nonzero().flatten().tolist() == [8]


# --- the draws -------------------------------------------------------------------------------------------------------


def test_no_patch_comes_twice_and_chosen_ones_are_avoided():
    count, box = 300, crop(0.1, 0.2, 0.5, 0.6, count=300)
    first = draws(uniform(count), view=0)
    second = draws(log_weights(free_shares(first, box, box, GRID), 3.0))
    for one, two in zip(first.tolist(), second.tolist()):
        assert len(set(one)) == len(set(two)) == 4
        assert set(one).isdisjoint(two)
        assert two == sorted(two)


def test_covered_patches_are_drawn_where_no_others_are_left():
    box = crop(0.0, 0.0, 1.0, 1.0, count=50)
    first = draws(uniform(50), count=10, view=0)
    second = draws(log_weights(free_shares(first, box, box, GRID), 3.0), count=10)
    for one, two in zip(first.tolist(), second.tolist()):
        assert len(set(one) & set(two)) == 4  # all six others, and four of these


@pytest.mark.parametrize("power", [0.0, 1.0, 3.0])
def test_the_first_draw_has_the_odds_of_the_weights(power):
    shares = torch.tensor([0.0, 0.3, 0.5, 0.5, 0.8, 1.0])
    weights = log_weights(shares.expand(4000, -1), power)
    counts = np.bincount(draws(weights, count=1)[:, 0], minlength=6)
    odds = (shares**power).double().numpy()
    if power:
        assert counts[0] == 0
        counts, odds = counts[1:], odds[1:]
    assert stats.chisquare(counts, 4000 * odds / odds.sum()).pvalue > 1e-3


def test_a_pair_of_draws_has_the_odds_of_drawing_one_after_another():
    p = np.array([0.5, 0.3, 0.15, 0.05])
    found = draws(torch.tensor(p).log().float().expand(6000, -1), count=2).tolist()
    pairs = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    expected = [p[a] * p[b] / (1 - p[a]) + p[b] * p[a] / (1 - p[b]) for a, b in pairs]
    assert math.isclose(sum(expected), 1.0)
    counts = [sum(tuple(pair) == wanted for pair in found) for wanted in pairs]
    assert stats.chisquare(counts, 6000 * np.array(expected)).pvalue > 1e-3


def test_overlap_falls_with_the_power():
    count = 400
    one, two = random_crops(count, 0), random_crops(count, 1)
    first = draws(uniform(count, 64), count=16, view=0)
    shares = free_shares(first, one, two, (8, 8))
    overlaps = [
        float(1 - shares.gather(1, draws(log_weights(shares, power), count=16)).mean())
        for power in (0.0, 1.0, 3.0, 10.0)
    ]
    assert overlaps == sorted(overlaps, reverse=True)
    assert overlaps[2] < 0.5 * overlaps[0]


def test_a_draw_is_a_function_of_seed_step_image_and_view_alone():
    ids = torch.tensor([5, 900, 3, 70_000, 1, 2])
    one, two = random_crops(6, 0), random_crops(6, 1)

    def pair(rows, **names):
        names = {"seed": 1, "step": 7, **names}
        first = draws(uniform(len(rows)), ids=ids[rows], view=0, **names)
        weights = log_weights(free_shares(first, one.of(rows), two.of(rows), GRID), 3.0)
        return torch.cat((first, draws(weights, ids=ids[rows], **names)), dim=1)

    everything = torch.arange(6)
    whole = pair(everything)
    assert torch.equal(pair(everything.flip(0)).flip(0), whole)
    for row in range(6):
        assert torch.equal(pair(everything[row : row + 1])[0], whole[row])
    for other in ({"seed": 2}, {"step": 8}):
        assert not torch.equal(pair(everything, **other), whole)
    assert not torch.equal(draws(uniform(6), view=0), draws(uniform(6), view=2))
