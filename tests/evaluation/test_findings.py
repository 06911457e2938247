"""What an embedding shows without labels: near-duplicates, outliers, clusters, and the encoder's own state."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from clsp import files
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.embeddings import Embeddings, embed_all
from clsp.evaluation.findings import search as searching
from clsp.evaluation.findings.clusters import find_clusters
from clsp.evaluation.findings.duplicates import find_duplicates
from clsp.evaluation.findings.outliers import find_outliers
from clsp.evaluation.findings.search import nearest_others, search
from clsp.evaluation.findings.state import look_at
from clsp.evaluation.findings.words import of_state
from clsp.evaluation.task import make_task
from clsp.evaluation.trained import Trained
from clsp.images.config import AugmentConfig
from clsp.images.imageset import Images, Split
from tiny import images_of


class Pixels(Trained):
    """Coarse pixels as features; it counts the images that it is given."""

    kind = "pixels"

    def __init__(self, task):
        super().__init__(Path("nowhere"), task)
        self.seen = 0

    def features(self, images):
        self.seen += len(images)
        return F.adaptive_avg_pool2d(torch.from_numpy(images[:]).float() / 255.0 - 0.5, 4).flatten(1)


def scenes(count, size=32, seed=0):
    """Smooth pictures, each of its own shape and colours: uint8 [N, 3, H, W]."""
    rng = np.random.default_rng(seed)
    coarse = [Image.fromarray(rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)) for _ in range(count)]
    return np.stack(
        [np.asarray(one.resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1) for one in coarse]
    )


def recompressed(image):
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, format="JPEG", quality=85)
    return np.asarray(Image.open(file)).transpose(2, 0, 1)


def unlabelled(images, test=None):
    parts = [Split(images=part, names=[f"{name}/{n:03d}.png" for n in range(len(part))])
             for name, part in (("train", images), ("test", test)) if part is not None]  # fmt: skip
    return Images(source="made", train=parts[0], test=parts[1] if test is not None else None)


def all_alike(count):
    """Neighbours as an encoder has them that gives all images one embedding: every image is near every other."""
    return nearest_others(F.normalize(torch.ones(count, 8) + 1e-4 * torch.randn(count, 8), dim=1), count - 1)


# --- near-duplicates -------------------------------------------------------------------------------------------------


def test_copies_are_found_and_what_the_embedding_alone_takes_for_copies_is_not():
    images = scenes(20)
    images = np.concatenate([images, recompressed(images[4])[None], images[[7]], images[[7]]])
    torch.manual_seed(0)
    found = find_duplicates(*all_alike(len(images)), images)
    assert {tuple(pair) for pair in found.places.tolist()} == {(4, 20), (7, 21), (7, 22), (21, 22)}
    assert found.difference[:3].tolist() == [0.0, 0.0, 0.0] and 0 < found.difference[3] < 6
    assert found.group.tolist() == [1, 1, 1, 2] and found.groups == 2


def test_pages_of_text_have_like_thumbnails_and_are_no_copies():
    rng = np.random.default_rng(0)
    pages = np.where(rng.random((6, 1, 64, 64)) < 0.5, 255, 40).astype(np.uint8)
    pages[:, :, :, :16] = 255  # a margin: the thumbnails have something in common that varies
    pages = np.concatenate([pages, pages[[2]]])
    torch.manual_seed(0)
    assert find_duplicates(*all_alike(7), pages).places.tolist() == [[2, 6]]


def test_copies_whose_embeddings_are_far_apart_are_not_looked_at():
    images = np.concatenate([scenes(3), scenes(1)])
    unit = torch.eye(4)
    assert len(find_duplicates(*nearest_others(unit, 3), images).places) == 0


def test_an_image_is_never_its_own_neighbour_however_many_copies_it_has():
    unit = F.normalize(torch.ones(30, 4), dim=1)
    similar, found = nearest_others(unit, 10)
    assert found.shape == similar.shape == (30, 10)
    assert not (found == torch.arange(30)[:, None]).any()
    assert nearest_others(unit[:3], 10)[1].shape == (3, 2)


# --- outliers and clusters -------------------------------------------------------------------------------------------


def blobs(sizes, spread=0.05, dims=16):
    rng = np.random.default_rng(0)
    points = [np.eye(dims)[number] + spread * rng.standard_normal((size, dims)) for number, size in enumerate(sizes)]
    unit = np.concatenate(points)
    return (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)


def test_who_is_far_from_all_others_comes_first_and_stands_out():
    unit = np.concatenate([blobs([40]), -np.eye(16, dtype=np.float32)[:1]])
    found = find_outliers(nearest_others(torch.from_numpy(unit), 10)[0])
    assert found.places[0] == 40 and found.count == 1
    assert found.distance[0] == pytest.approx(2.0, abs=0.1) and found.median < 0.1
    calm = find_outliers(nearest_others(torch.from_numpy(unit[:40]), 10)[0])
    assert calm.count == 0 and sorted(calm.places) == list(range(40))


def test_clusters_are_those_that_are_there_the_largest_first():
    found = find_clusters(blobs([20, 50, 30]), seed=0)
    assert found.sizes.tolist() == [50, 30, 20]
    assert found.cluster.tolist() == [2] * 20 + [0] * 50 + [1] * 30
    assert found.silhouette > 0.7 and set(found.silhouettes) == {2, 3, 4, 5, 6, 8, 10, 12, 15, 20}
    typical = found.typical(2, 5)
    assert set(typical) <= set(range(20)) and (np.diff(found.distance[typical]) >= 0).all()


@pytest.mark.parametrize("unit", [blobs([3]), np.ones((40, 4), np.float32) / 2])
def test_where_there_is_nothing_to_part_there_is_one_cluster(unit):
    found = find_clusters(unit, seed=0)
    assert found.sizes.tolist() == [len(unit)] and found.silhouettes == {}


# --- the encoder's state ---------------------------------------------------------------------------------------------


def test_state_of_a_good_a_dull_and_a_collapsed_encoder():
    images = unlabelled(scenes(40))
    trained = Pixels(make_task(images, EvaluateConfig(), seed=0))
    unit = F.normalize(trained.features(images.train.images), dim=1)
    still = AugmentConfig(jitter=0.0, gray=0.0, flip=0.0)

    good = look_at(trained, images.train.images, unit, still, seed=0)
    assert good.self_retrieval > 0.8 and good.tried == good.pool == 40
    assert good.effective_rank > 10 and "no collapse" in of_state(good)[0]

    other = unit[torch.randperm(40, generator=torch.Generator().manual_seed(1))]
    assert look_at(trained, images.train.images, other, still, seed=0).self_retrieval < 0.2

    flat = F.normalize(torch.ones(40, 48) + 1e-4 * unit, dim=1)
    (said,) = of_state(look_at(trained, images.train.images, flat, still, seed=0))
    assert "collapsed" in said


# --- all of it -------------------------------------------------------------------------------------------------------


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def found_in(folder, images, **changes):
    trained = Pixels(make_task(images, EvaluateConfig(), seed=0))
    found = search(trained, embed_all(trained, images), AugmentConfig(), seed=0)
    found.save(folder)
    return found, files.read_json(folder / "findings.json")


def test_files_of_findings_and_two_searches_have_the_same_bytes(tmp_path):
    train = scenes(30)
    images = unlabelled(train, np.concatenate([scenes(9, seed=1), train[[3]]]))
    _, record = found_in(tmp_path / "one", images)
    found_in(tmp_path / "two", images)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["clusters.csv", "clusters.png", "duplicates.csv", "duplicates.png", "findings.json",
                     "outliers.csv", "outliers.png"]  # fmt: skip
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name

    (pair,) = rows(tmp_path / "one" / "duplicates.csv")
    assert (pair["first"], pair["second"]) == ("train/003.png", "test/009.png")
    assert (pair["first_part"], pair["second_part"]) == ("train", "test")
    assert "1 pair lies across train and test" in record["told"]["duplicates"]
    assert len(rows(tmp_path / "one" / "clusters.csv")) == 40
    assert len(rows(tmp_path / "one" / "outliers.csv")) == 20
    assert record["told"]["limits"] == "" and "40 images" in record["told"]["headline"]


def test_of_very_many_images_some_are_searched_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "_SEARCHED", 25)
    images = unlabelled(np.concatenate([scenes(20), scenes(20)]))
    found, record = found_in(tmp_path, images)
    assert "25 of 40 images" in record["told"]["limits"]
    searched = set(found.searched.tolist())
    pairs = {
        tuple(sorted((int(row["first"][6:9]), int(row["second"][6:9])))) for row in rows(tmp_path / "duplicates.csv")
    }
    assert pairs == {(n, n + 20) for n in range(20) if {n, n + 20} <= searched} and pairs
    assert len(rows(tmp_path / "clusters.csv")) == 40


def test_no_image_is_encoded_twice():
    """The evaluation's task knows the features of its images; of a labelled set it leaves some out."""
    whole = images_of(train=48, test=24)
    labels = whole.train.labels.copy()
    labels[::5] = -1  # those without a label are in no task
    train = Split(images=whole.train.images, names=whole.train.names, labels=labels)
    images = Images(source="made", train=train, test=whole.test, classes=whole.classes)
    trained = Pixels(make_task(images, EvaluateConfig(), seed=0))
    trained.train, trained.test  # noqa: B018 - what the probe asked for
    assert trained.seen == 38 + 24
    made = embed_all(trained, images)
    assert trained.seen == 48 + 24
    again = Pixels(trained.data)
    assert np.array_equal(
        made.values, torch.cat([again.features(images.train.images), again.features(images.test.images)])
    )
    assert made.labels[:6] == [None, "b", "c", "a", "b", None] and made.parts == ["train"] * 48 + ["test"] * 24

    split = images_of(train=30, test=None)  # test images are set apart from train
    one = Pixels(make_task(split, EvaluateConfig(), seed=0))
    assert len(embed_all(one, split)) == 30 == one.seen
    assert np.array_equal(embed_all(one, split).values, Pixels(one.data).features(split.train.images))


def test_joined_arrays_are_one_array():
    one, other = np.arange(24).reshape(4, 2, 3), np.arange(100, 118).reshape(3, 2, 3)
    joined, whole = files.Joined([one, files.Rows(other, np.array([0, 2]))]), np.concatenate([one, other[[0, 2]]])
    assert joined.shape == whole.shape and joined.dtype == whole.dtype
    places = np.array([[5, 0], [3, 4]])
    assert np.array_equal(joined[places], whole[places]) and np.array_equal(joined[1:5], whole[1:5])
    assert files.rows_of(files.Rows(one, np.array([2])), one).tolist() == [2]
    assert files.rows_of(one, one).tolist() == [0, 1, 2, 3]
    assert files.rows_of(one.copy(), one) is None and files.rows_of(files.Rows(other, np.array([0])), one) is None


def test_embeddings_of_one_part_are_those_of_the_encoder():
    made = Embeddings.of(unlabelled(scenes(3)), [torch.arange(6.0).reshape(3, 2)])
    assert made.values.tolist() == [[0, 1], [2, 3], [4, 5]] and made.labels == [None] * 3
