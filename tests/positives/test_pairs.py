"""Pairs from a file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.positives.sources.pairs import PairList, Partners, read_pairs

CPU = torch.device("cpu")
NAMES = ["a/0.png", "a/1.png", "b/2.png", "b/3,x.png", "c/4.png"]


def draws(pairs, ids, place, steps=400):
    ids = np.array(ids)
    images = np.arange(10, dtype=np.uint8).reshape(-1, 1, 1, 1)
    source = Partners(Pixels(images, ids).to(CPU), ids, pairs, seed=0, device=CPU)
    found = [source(torch.tensor([place]), torch.zeros(1, 1, 1, 1, dtype=torch.uint8), step) for step in range(steps)]
    assert all(int(one.images) == int(one.ids) for one in found)
    return {(int(one.ids), round(float(one.weights), 3)) for one in found}


def test_a_partner_is_drawn_in_both_directions_and_an_image_without_one_is_its_own():
    pairs = PairList(np.array([[1, 4], [4, 6], [9, 6]]), np.array([0.5, 1.0, 0.25], np.float32))
    ids = [1, 4, 5, 6, 8]
    assert [draws(pairs, ids, place) for place in range(5)] == [
        {(4, 0.5)}, {(1, 0.5), (6, 1.0)}, {(5, 1.0)}, {(4, 1.0)}, {(8, 1.0)},
    ]  # fmt: skip


def test_the_file_is_read_by_names(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text('first,second,similarity\na/0.png,b/2.png,0.98\n"b/3,x.png",a/1.png,0.97\n')
    pairs = read_pairs(path, NAMES)
    assert pairs.places.tolist() == [[0, 2], [3, 1]]
    assert pairs.weights.tolist() == [1.0, 1.0]
    before = pairs.fingerprint
    path.write_text("first,second\na/0.png,b/2.png\n", encoding="utf-8-sig")  # as spreadsheets write it
    assert read_pairs(path, NAMES).places.tolist() == [[0, 2]]
    path.write_text("second,first,weight\na/0.png,b/2.png,0.5\n")
    pairs = read_pairs(path, NAMES)
    assert (pairs.places.tolist(), pairs.weights.tolist()) == ([[2, 0]], [0.5])
    assert pairs.fingerprint != before


def test_pairs_of_images_that_are_not_there_are_left_out_and_it_is_said(tmp_path, capsys):
    path = tmp_path / "pairs.csv"
    path.write_text("first,second\na/0.png,b/2.png\na/0.png,gone.png\n")
    assert len(read_pairs(path, NAMES).places) == 1
    assert "1 of 2 pairs are left out: 'gone.png' is no train image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a/0.png,b/2.png\n", "needs a first line 'first,second'"),
        ("first,second\n", "at least one pair"),
        ("first,second\nx,y\n", "no pair is among the images: 'x' is no train image; they are named like 'a/0.png'"),
        ("first,second,weight\na/0.png,b/2.png,2\n", "weight '2' of a/0.png, b/2.png must be between 0 and 1"),
        ("first,second,weight\na/0.png,b/2.png,much\n", "weight 'much'"),
        ("first,second,weight\na/0.png,b/2.png,nan\n", "weight 'nan'"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_holds_no_pairs_is_refused_in_one_line(tmp_path, text, told):
    path = tmp_path / "pairs.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=told) as caught:
        read_pairs(path, NAMES)
    assert "\n" not in str(caught.value)
