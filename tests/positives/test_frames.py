"""Other frames of the same video."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.positives.source import Material
from clsp.positives.sources.frames import Frames, places_in_time

CPU = torch.device("cpu")
NAMES = [f"a/f{i}.png" for i in range(12)] + [f"b/sub/{i:03d}.png" for i in range(5)] + ["alone.png"]


def frames(window, *, ids=None, names=NAMES, labels=None, weigh=True):
    ids = np.arange(len(names)) if ids is None else np.array(ids)
    images = np.arange(len(names), dtype=np.uint8).reshape(-1, 1, 1, 1)
    material = Material(Pixels(images, ids).to(CPU), ids, labels, images, names)
    return Frames(window=window, weigh=weigh).build(material, seed=0, device=CPU)


def draws(source, place, steps=3000):
    """Which image the anchor at ``place`` gets, and with which weight, in many steps."""
    position, anchor = torch.tensor([place]), torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    found = [source(position, anchor, step) for step in range(steps)]
    assert all(int(one.images) == int(one.ids) for one in found)
    return np.array([int(one.ids) for one in found]), np.array([float(one.weights) for one in found])


def test_a_folder_is_a_video_and_its_files_in_natural_order_its_frames():
    videos, times = places_in_time(["v/f10.png", "v/f9.png", "w/x.png", "v/f1.png", "w/a2b10.png", "w/a2b9.png"])
    assert videos.tolist() == [0, 0, 1, 0, 1, 1]
    assert times.tolist() == [2, 1, 2, 0, 1, 0]


@pytest.mark.parametrize(
    ("place", "expected"), [(5, range(2, 9)), (1, range(5)), (11, range(8, 12)), (12, range(12, 16))]
)
def test_frames_are_drawn_evenly_from_the_window_cut_off_at_the_ends(place, expected):
    found, weights = draws(frames(3), place)
    assert sorted(set(found.tolist())) == list(expected)
    shares = np.bincount(found)[list(expected)] / len(found)
    assert np.abs(shares - 1 / len(expected)).max() < 4 * np.sqrt(1 / len(expected) / len(found))
    np.testing.assert_allclose(weights, (3 - np.abs(found - place) + 1) / 4)


def test_the_weights_are_the_papers_codes():
    """(d - |j - i| + 1) / (d + 1): 1 for the frame itself, 1 / 11 for the farthest of d = 10."""
    found, weights = draws(frames(10), 0)
    by_frame = dict(zip(found.tolist(), weights.tolist(), strict=True))
    assert by_frame[0] == 1.0
    assert by_frame[10] == pytest.approx(1 / 11)
    assert 11 not in by_frame


def test_without_weights_the_same_frames_are_drawn_and_count_fully():
    position, anchor = torch.tensor([3, 7]), torch.zeros(2, 1, 1, 1, dtype=torch.uint8)
    for step in range(5):
        plain, weighed = (frames(10, weigh=weigh)(position, anchor, step) for weigh in (False, True))
        assert plain.weights is None and weighed.weights is not None
        assert plain.ids.tolist() == weighed.ids.tolist() and plain.images.equal(weighed.images)


def test_a_window_of_0_and_a_video_of_one_frame_give_the_anchor_itself():
    for source, place in ((frames(0), 4), (frames(3), 17)):
        found, weights = draws(source, place, steps=20)
        assert set(found.tolist()) == {place}
        assert set(weights.tolist()) == {1.0}


def test_frames_that_are_not_trained_on_are_never_shown_but_keep_their_place_in_time():
    found, weights = draws(frames(3, ids=[0, 2, 3, 9, 13, 14]), 1, steps=500)
    assert set(found.tolist()) == {0, 2, 3}
    assert dict(zip(found.tolist(), weights.tolist(), strict=True)) == {0: 0.5, 2: 1.0, 3: 0.75}


def test_folders_that_are_the_classes_are_refused_as_they_would_give_the_labels_away():
    names = [f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(4)]
    with pytest.raises(UserError, match=r"here they are the classes; .* CLASS/VIDEO/frame.png"):
        frames(3, names=names, labels=np.repeat([0, 1], 4))
    frames(3, names=names)  # no labels: two videos
    inside = [f"{kind}/{i // 2}/{i}.png" for kind in ("cat", "dog") for i in range(4)]
    frames(3, names=inside, labels=np.repeat([0, 1], 4))
    frames(3, names=[f"video/{i}.png" for i in range(4)], labels=np.array([0, 0, 1, -1]))
