"""What the candidates of a bank are like: numbers that tell copies from noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsp.diffusion.unet import build_unet
from clsp.images.imageset import Images, Split
from clsp.positives.bank import PositiveBank
from clsp.positives.measures import measure


@pytest.fixture
def unet(tiny_diffusion):
    torch.manual_seed(0)
    return build_unet(tiny_diffusion(), channels=3, size=8).eval()


def measured(images, candidates, unet, ids):
    manifest = {"candidates": candidates.shape[1], "shape": list(candidates.shape[2:])}
    return measure(PositiveBank(None, manifest, ids, [candidates]), images, unet, seed=0)


def test_candidates_that_are_their_anchors_are_similar_equal_and_copies(make_images, unet):
    images, ids = make_images(30, size=8), np.arange(0, 30, 2)
    same = np.repeat(images.train.images[ids].transpose(0, 2, 3, 1)[:, None], 3, axis=1)
    values = {name: entry["value"] for name, entry in measured(images, same, unet, ids).items()}
    assert values["anchor_similarity"] == pytest.approx(1, abs=1e-3)
    assert values["row_diversity"] == pytest.approx(0, abs=1e-3)
    assert values["duplicates"] == 1
    assert values["pixel_distance"] == 0
    assert values["neighbour_label_agreement"] > 0.6  # the classes are prototypes


def test_candidates_of_noise_are_neither(make_images, unet):
    images, ids = make_images(30, size=8), np.arange(0, 30, 2)
    noise = np.random.default_rng(0).integers(0, 256, (15, 3, 8, 8, 3)).astype(np.uint8)
    values = {name: entry["value"] for name, entry in measured(images, noise, unet, ids).items()}
    assert values["anchor_similarity"] < 0.7
    assert values["row_diversity"] > 0.01
    assert values["duplicates"] == 0
    floats = [x.astype(np.float64) / 255 for x in (noise, images.train.images[ids].transpose(0, 2, 3, 1)[:, None])]
    assert values["pixel_distance"] == pytest.approx(((floats[0] - floats[1]) ** 2).mean(), abs=1e-4)
    assert values["neighbour_label_agreement"] == pytest.approx(1 / 3, abs=0.25)


def test_one_candidate_has_no_diversity_and_images_without_labels_no_agreement(make_images, unet):
    labelled = make_images(30, size=8)
    images = Images(source="made", train=Split(images=labelled.train.images, names=labelled.train.names))
    single = images.train.images[:15].transpose(0, 2, 3, 1)[:, None]
    assert {"row_diversity", "neighbour_label_agreement"}.isdisjoint(measured(images, single, unet, np.arange(15)))


def test_images_without_label_take_no_part_in_the_agreement(make_images, unet):
    images = make_images(30, size=8)
    images.train.labels[10:] = -1
    ids = np.arange(30)
    wrong = images.train.images[(ids + 1) % 30].transpose(0, 2, 3, 1)[:, None]  # each shows another class
    value = measured(images, wrong, unet, ids)["neighbour_label_agreement"]["value"]
    assert value < 0.4  # -1 agrees with nothing


def test_random_pairs_are_no_neighbours_of_a_sorted_folder(make_images, unet):
    """Albums lie one after another; an image and the next one are alike, two random ones are not."""
    images = make_images(60, size=8)
    order = np.argsort(images.train.labels, kind="stable")
    sorted_images = Images(source="made", train=Split(images=images.train.images[order], names=images.train.names))
    same = sorted_images.train.images[::4].transpose(0, 2, 3, 1)[:, None]
    value = measured(sorted_images, same, unet, np.arange(0, 60, 4))["random_similarity"]["value"]
    assert value == pytest.approx(0, abs=0.15)  # about their own mean; neighbours' cosine is near 1
