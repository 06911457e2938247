"""Retrieval: the usual mean average precision, exact however it is chunked, and blind to the order of the images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from measuring import measured
from sklearn.metrics import average_precision_score

from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluators import retrieval
from clsp.evaluation.evaluators.retrieval import average_precisions, retrieve
from clsp.evaluation.measure import difference
from clsp.evaluation.statistics import random_average_precision
from clsp.evaluation.task import make_task
from clsp.tasks.retrieval.measure import average_precision


def found_by(features, labels, **changes):
    settings = {"queries": 10_000, "seed": 0, "note": "made images"}
    measures = retrieve(features, np.asarray(labels), **{**settings, **changes})
    return measures[0].record() if measures else None


def by_sklearn(features, labels):
    """Average precision of each row that has another of its label, all others being ranked; NaN of the rest."""
    unit = torch.nn.functional.normalize(features, dim=1)
    found = np.full(len(labels), np.nan)
    for query in range(len(labels)):
        others = np.arange(len(labels)) != query
        relevant = labels[others] == labels[query]
        if relevant.any():
            found[query] = average_precision_score(relevant, (unit @ unit[query]).numpy()[others])
    return found


@pytest.mark.parametrize("chunk", [4_000_000, 70, 1])
@pytest.mark.parametrize("classes", [2, 5, 40])
def test_it_is_sklearns_however_it_is_chunked(monkeypatch, chunk, classes):
    monkeypatch.setattr(retrieval, "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 90)
    features = torch.from_numpy(rng.normal(size=(90, 6)) + 0.5 * np.eye(max(classes, 6))[labels, :6])
    expected = by_sklearn(features, labels)
    rows = rng.permutation(np.flatnonzero(~np.isnan(expected)))
    found = average_precisions(features, torch.from_numpy(labels), torch.from_numpy(rows))
    np.testing.assert_allclose(found.queries.numpy(), expected[rows], rtol=1e-9)


def test_equally_similar_images_have_one_rank_in_whatever_order_they_come():
    """Features with four directions alone: most similarities are equal."""
    rng = np.random.default_rng(0)
    labels, features = rng.integers(0, 3, 60), torch.eye(4)[torch.from_numpy(rng.integers(0, 4, 60))]
    found = average_precisions(features, torch.from_numpy(labels), torch.arange(60)).queries.numpy()
    np.testing.assert_allclose(found, by_sklearn(features, labels), rtol=1e-9)
    order = rng.permutation(60)
    mixed = average_precisions(features[order], torch.from_numpy(labels[order]), torch.arange(60))
    np.testing.assert_allclose(mixed.queries.numpy(), found[order], rtol=1e-12)


@pytest.mark.parametrize("chunk", [4_000_000, 70])
@pytest.mark.parametrize("asked", [30, 7])
@pytest.mark.parametrize("coarse", [False, True])
def test_the_images_contributions_are_those_of_leaving_each_out(monkeypatch, chunk, asked, coarse):
    """The jackknife written out: what is gone neither asks nor is found, a lone image of a class asks nothing."""
    monkeypatch.setattr(retrieval, "_CHUNK", chunk)
    rng = np.random.default_rng(1)
    labels = np.array([0] * 11 + [1] * 12 + [2] * 4 + [3] * 2 + [4])
    features = torch.from_numpy(rng.normal(size=(30, 4)) + np.eye(5)[labels, :4])
    features = features.sign() if coarse else features  # of many equal similarities
    able = np.flatnonzero(np.bincount(labels)[labels] > 1)
    rows = np.sort(rng.permutation(able)[:asked])

    def mean(kept):
        found = by_sklearn(features[kept], labels[kept])
        return np.nanmean(found[np.isin(kept, rows)])

    every = np.arange(30)
    without = np.array([mean(every[every != image]) for image in every])
    pseudo = 30 * mean(every) - 29 * without
    found = average_precisions(features, torch.from_numpy(labels), torch.from_numpy(rows))
    each = found.of_images(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(each, pseudo + mean(every) - pseudo.mean(), rtol=1e-9)
    assert each.mean() == pytest.approx(mean(every))


def test_an_interval_of_the_difference_holds_the_true_one_as_often_as_it_says():
    """Of 150 sets of images, by two encoders; the queries' precisions alone vary too little together."""
    rng, gaps, narrow = np.random.default_rng(0), [], []
    centres = rng.normal(size=(2, 8, 16))
    for _ in range(150):
        labels = rng.integers(0, 8, 160)
        features = [torch.from_numpy(one[labels] + 2.0 * rng.normal(size=(160, 16))) for one in centres]
        rows, of = torch.arange(160), torch.from_numpy(labels)
        first, second = (average_precisions(some, of, rows) for some in features)
        gaps.append(difference(first.of_images(rows).numpy(), second.of_images(rows).numpy()))
        narrow.append(difference(first.queries.numpy(), second.queries.numpy()))

    def held(found):
        true = np.mean([gap["mean"] for gap in found])
        return np.mean([gap["low"] <= true <= gap["high"] for gap in found])

    assert held(gaps) > 0.9 > 0.8 > held(narrow)


def test_perfect_features_reach_all_and_a_collapsed_encoder_the_fraction_of_the_class():
    labels = np.arange(40) % 4
    assert found_by(torch.eye(4)[torch.from_numpy(labels)], labels)["map"] == 100
    collapsed = found_by(torch.ones(40, 3), labels)
    assert collapsed["map"] == pytest.approx(100 * 9 / 39, abs=0.005)
    assert "a random order reaches about 29.7 %, features that are all alike 23.1 %" in collapsed["protocol"]


def test_random_features_reach_about_the_fraction_of_the_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [300, 900])
    found = found_by(torch.from_numpy(rng.normal(size=(1200, 32))), labels)
    fractions = (0.25 * 299 + 0.75 * 899) / 1199
    assert found["map"] == pytest.approx(100 * fractions, abs=2)
    assert f"all alike {100 * fractions:.1f} %" in found["protocol"]


def test_the_length_of_a_feature_plays_no_part():
    rng = np.random.default_rng(0)
    features, labels = torch.from_numpy(rng.normal(size=(50, 8))), rng.integers(0, 3, 50)
    lengths = torch.from_numpy(rng.uniform(0.1, 10, (50, 1)))
    assert found_by(features * lengths, labels) == found_by(features, labels)


def test_an_image_without_its_like_is_no_query_but_is_searched():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.2], [1.0, 0.1]])  # the stranger lies between the two
    found = found_by(features, [0, 0, 1])
    assert found["map"] == 50
    assert "over 2 queries" in found["protocol"]
    assert found_by(features, [0, 1, 2]) is None


@pytest.mark.parametrize(
    ("relevant", "total", "first"), [(10, 400, 400), (2, 200, 200), (50, 500, 100), (3, 3, 2), (1, 5, 1)]
)
def test_what_a_random_order_reaches_is_told_as_random_orders_have_it(relevant, total, first):
    rng, hits = np.random.default_rng(0), np.arange(total) < relevant
    found = [average_precision(rng.permutation(hits)[:first]) for _ in range(3000)]
    error = 4 * np.std(found) / len(found) ** 0.5 + 1e-9
    assert random_average_precision(relevant, total, first) == pytest.approx(np.mean(found), abs=error)


def test_queries_are_capped_by_a_choice_of_the_seed_and_search_all_images():
    rng = np.random.default_rng(0)
    features, labels = torch.from_numpy(rng.normal(size=(200, 8))), rng.integers(0, 3, 200)
    few = found_by(features, labels, queries=20)
    assert "over 20 queries" in few["protocol"]
    assert "ranks all 199 others" in few["protocol"]
    assert found_by(features, labels, queries=20) == few
    assert found_by(features, labels, queries=20, seed=1) != few
    assert found_by(features, labels, queries=200) == found_by(features, labels)


def test_it_is_always_measured_on_the_test_images(encoder, make_images):
    config = EvaluateConfig()
    task = make_task(make_images(), config, seed=0)
    result, trained = measured(encoder, task, config)
    found, expected = result["retrieval"], by_sklearn(trained.test, task.test.labels)
    assert found.value == pytest.approx(100 * np.mean(expected), abs=0.01)
    assert found.each.mean() == pytest.approx(np.mean(expected)) and len(found.each) == 24
    assert found.record() == {"map": found.value, "protocol": found.protocol}
    assert "24 test images" in found.protocol
