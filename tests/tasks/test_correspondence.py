"""Patches and where they come from, the cycle, matches and PCK: each on images whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clsp import files, randomness
from clsp.errors import UserError
from clsp.objectives.cycle import cycle, walk
from clsp.tasks.correspondence.geometry import apply, attention_of, centres, cut, draw_maps, patch_maps
from clsp.tasks.correspondence.keypoints import read_pairs
from clsp.tasks.correspondence.matching import match, similarities, transported, voted
from clsp.tasks.correspondence.pck import found, pck
from clsp.tasks.correspondence.warps import warp


def coordinates(size):
    """An image of its own coordinates: channel 0 is x, channel 1 is y."""
    return centres(size, size).T.reshape(1, 2, size, size)


@pytest.mark.parametrize("angle", [0.0, 10.0, -25.0, 90.0])
@pytest.mark.parametrize("flip", [False, True])
def test_a_patch_shows_what_its_map_says(angle, flip):
    """Cut out of an image of coordinates, every pixel of a patch says where it comes from."""
    maps = patch_maps(torch.tensor([[0.1, -0.2]]), 0.4, torch.tensor([math.radians(angle)]), torch.tensor([flip]))
    seen = cut(coordinates(256), maps, 16)[0].flatten(1).T
    torch.testing.assert_close(seen, apply(maps, centres(16, 16))[0], atol=2e-3, rtol=0)


def test_a_mirrored_patch_is_the_patch_mirrored_and_a_turned_one_is_turned():
    image, centre = torch.rand(1, 1, 32, 32), torch.zeros(1, 2)

    def patch(angle, flip):
        return cut(image, patch_maps(centre, 1.0, torch.tensor([angle]), torch.tensor([flip])), 32)

    torch.testing.assert_close(patch(0.0, False), image, atol=1e-5, rtol=0)
    torch.testing.assert_close(patch(0.0, True), image.flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(patch(math.pi / 2, False), image.rot90(1, (2, 3)), atol=1e-4, rtol=0)


def test_patches_lie_where_attention_is_highest_and_inside():
    attention = torch.zeros(2, 8, 8)
    attention[0, 0, 0] = attention[1, 4, 5] = 1.0
    draws = torch.tensor([[0.5, 0.9], [0.5, 0.9]])
    maps = draw_maps(draws, attention, 0.5, 10.0)
    torch.testing.assert_close(maps[0, :, 2], torch.tensor([-0.5, -0.5]))  # the corner, moved inside
    torch.testing.assert_close(maps[1, :, 2], centres(8, 8)[4 * 8 + 5])
    assert (apply(maps, centres(4, 4)).abs() <= 1).all()


def test_attention_is_where_the_image_is_like_itself():
    features = torch.zeros(1, 3, 4, 4)
    features[:, 0] = 1.0
    features[0, :, 3, 3] = torch.tensor([0.0, 0.0, 5.0])
    attention = attention_of(features.requires_grad_())
    assert attention[0, 3, 3] < attention[0, 0, 0] and not attention.requires_grad


def distinct(places, channels=64, seed=0):
    return torch.randn(1, channels, places, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_between_three_times_the_same_image_every_way_ends_where_it_began():
    source = distinct(16)
    chance = walk(source, source, source, 0.01)
    torch.testing.assert_close(chance[0], torch.eye(16, dtype=torch.float64), atol=1e-6, rtol=0)
    places = centres(4, 4).double()
    loss = cycle(source, source, source, 0.01, places=places, truth=places[None])
    assert float(loss) < 1e-10


def test_the_walk_and_the_loss_are_their_formulas():
    patch, source, other = (distinct(n, 5, n) for n in (3, 4, 6))
    p, s, o = (F.normalize(x, dim=1)[0].T for x in (patch, source, other))
    expected = torch.zeros(3, 4, dtype=torch.float64)
    for i in range(3):
        there = torch.tensor([float(p[i] @ o[j]) / 0.3 for j in range(6)], dtype=torch.float64).softmax(0)
        for j in range(6):
            expected[i] += there[j] * torch.tensor([float(o[j] @ s[k]) / 0.3 for k in range(4)]).double().softmax(0)
    torch.testing.assert_close(walk(patch, source, other, 0.3)[0], expected, atol=1e-6, rtol=0)
    places, truth = centres(2, 2).double(), torch.tensor([[[0.5, 0.0], [0.0, 0.2], [1.2, 0.0]]]).double()
    gaps = (expected @ places - truth[0]).square().sum(dim=1)
    loss = cycle(patch, source, other, 0.3, places=places, truth=truth)
    torch.testing.assert_close(loss, gaps[:2].mean(), atol=1e-6, rtol=0)  # the third lies outside


def test_the_gradient_reaches_all_three_images():
    maps = [distinct(9, 8, seed).requires_grad_() for seed in range(3)]
    places = centres(3, 3).double()
    cycle(*maps, 0.1, places=places, truth=places[None]).backward()
    assert all(image.grad.abs().sum() > 0 for image in maps)


def shifted(by, size=12, channels=32):
    """A feature map, and the same map moved to the right."""
    whole = torch.randn(channels, size, size + by, generator=torch.Generator().manual_seed(3))
    whole = F.avg_pool2d(whole[None], 3, stride=1, padding=1)[0]
    return whole[:, :, by:], whole[:, :, :size]


@pytest.mark.parametrize("how", [{}, {"transport": True}, {"hough": True}, {"transport": True, "hough": True}])
def test_points_are_found_where_they_went(how):
    source, target = shifted(3)
    points = centres(6, 6)
    points = points[points[:, 0] < 0.3]
    guessed, sure = match(source, target, points, **how)
    truth = points + torch.tensor([3 * 2 / 12, 0.0])
    near = (guessed - truth).norm(dim=1) < 2 / 12
    assert near.float().mean() > 0.9 and sure.isfinite().all()


def test_transport_gives_every_place_the_same_weight():
    plan = transported(similarities(*shifted(2)))
    torch.testing.assert_close(plan.sum(dim=1), torch.full((144,), 1 / 144), rtol=1e-3, atol=0)
    torch.testing.assert_close(plan.sum(dim=0), torch.full((144,), 1 / 144), rtol=0.05, atol=0)


def test_votes_prefer_the_shift_that_most_matches_have():
    similar = torch.full((16, 16), 0.1)
    for place in range(0, 16, 4):  # a row's first place goes to its second
        similar[place, place + 1] = 1.0
    similar[2, 2] = similar[2, 3] = 1.0  # a tie: to stay, or to go as the others do
    votes = voted(similar, (4, 4), (4, 4))
    assert votes[2, 3] > votes[2, 2]


def test_pck_counts_points_within_the_distance_by_pairs():
    truth = np.zeros((4, 2))
    guessed = np.array([[0, 0], [9, 0], [0, 11], [30, 0]], dtype=float)
    assert found(guessed, truth, 100, 0.1).tolist() == [True, True, False, False]
    pairs = [(guessed, truth, 100.0), (truth[:1], truth[:1], 50.0)]
    assert pck(pairs)["pck@0.1"] == 75 and pck(pairs)["pck@0.05"] == 62.5
    assert found(guessed, truth, np.array([1, 90, 110, 100]), 0.1).tolist() == [True, True, True, False]


def test_every_point_of_a_warp_shows_what_its_origin_shows():
    """On an image of coordinates a warp says at every point where it comes from."""
    image = 0.4 * (coordinates(128) + 1)  # so dark that no colour is cut off
    warped = warp(torch.cat((image, image)), 20, seed=0, ids=torch.tensor([3, 8]))
    plain = warped.images / _gains(2, (3, 8))
    seen = F.grid_sample(plain, warped.points[:, None], mode="bilinear", align_corners=False)[:, :, 0].transpose(1, 2)
    torch.testing.assert_close(seen / 0.4 - 1, warped.truth, atol=0.02, rtol=0)
    assert (warped.truth.abs() <= 1).all() and (warped.points[0] != warped.points[1]).any()
    again = warp(image, 20, seed=0, ids=torch.tensor([8]))
    torch.testing.assert_close(again.truth[0], warped.truth[1])


def _gains(channels, ids):
    draws = randomness.uniform(0, "colour", (torch.tensor(ids),), channels)
    return (1 + 0.2 * (2 * draws - 1))[:, :, None, None]


def spair(folder):
    pair = {
        "src_imname": "a.jpg", "trg_imname": "b.jpg", "category": "cat", "src_kps": [[1, 2], [3, 4]],
        "trg_kps": [[5, 6], [7, 8]], "trg_bndbox": [10, 20, 50, 40], "src_bndbox": [0, 0, 9, 9],
    }  # fmt: skip
    files.make_folder(folder / "PairAnnotation" / "test")
    files.write_json(folder / "PairAnnotation" / "test" / "000001-a-b:cat.json", pair)


def pascal(folder):
    head = "source_image,target_image,class,XA,YA,XB,YB"
    row = "PF-dataset-PASCAL/JPEGImages/a.jpg,PF-dataset-PASCAL/JPEGImages/b.jpg,1,1;3,2;4,5;7,6;8"
    files.write_text(folder / "test_pairs_pf_pascal.csv", f"{head}\n{row}\n")


def willow(folder):
    numbers = [*range(10), *range(10, 20), *range(5, 15), *range(40, 60, 2)]
    head = "imageA,imageB," + ",".join(f"{axis}{side}{n}" for side in "AB" for axis in "XY" for n in range(1, 11))
    files.write_text(folder / "test_pairs.csv", f"{head}\nPF-dataset/duck(S)/a.png,PF-dataset/duck(S)/b.png,")
    text = (folder / "test_pairs.csv").read_text() + ",".join(map(str, numbers)) + "\n"
    files.write_text(folder / "test_pairs.csv", text)


@pytest.mark.parametrize(("make", "extent"), [(spair, 40), (pascal, None), (willow, 18)])
def test_pairs_are_read_in_the_layout_of_each_benchmark(tmp_path, make, extent):
    make(tmp_path)
    (pair,) = read_pairs(tmp_path)
    assert pair.extent == extent and pair.points.shape == pair.truth.shape
    assert pair.source.name.startswith("a.") and pair.target.name.startswith("b.")
    first = {spair: ([1, 2], [5, 6]), pascal: ([1, 2], [5, 6]), willow: ([0, 10], [5, 40])}[make]
    assert pair.points[0].tolist() == first[0] and pair.truth[0].tolist() == first[1]


def test_what_is_no_benchmark_ends_in_one_line(tmp_path):
    with pytest.raises(UserError, match="SPair-71k"):
        read_pairs(tmp_path)
    files.write_text(tmp_path / "test_pairs.csv", "a,b,XA,YA,XB,YB\n../x.png,b.png,1;2,1;2,1;2,1\n")
    with pytest.raises(UserError, match="test_pairs"):
        read_pairs(tmp_path)
    spair(tmp_path)
    path = next((tmp_path / "PairAnnotation" / "test").iterdir())
    files.write_json(path, {**files.read_json(path), "src_imname": "../../secret.jpg"})
    with pytest.raises(UserError, match="out of the folder"):
        read_pairs(tmp_path)
