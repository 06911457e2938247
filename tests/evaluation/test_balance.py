"""Unequal classes: accuracy hides a rare class that is never found; the mean over the classes does not."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from clsp.evaluation.balance import confusion, mean_recall, rate
from clsp.evaluation.measure import accuracy


def scores_of(chosen, classes):
    return np.eye(classes)[chosen]


def rated(chosen, labels, classes):
    return rate(scores_of(chosen, classes), labels, name="linear", title="linear", protocol="p")


def test_a_rare_class_that_is_never_found():
    labels = np.repeat([0, 1], [95, 5])
    plain, balanced = rated(np.zeros(100, np.int64), labels, 2)
    assert (plain.value, balanced.value) == (95.0, 50.0)
    assert plain.details["confusion"] == [[95, 0], [5, 0]]
    assert balanced.details == {"classes": 2, "smallest_class": 5, "largest_class": 95}
    assert balanced.low < 50 < balanced.high
    assert (balanced.name, balanced.title) == ("linear_balanced", "linear balanced")
    assert 100 * balanced.each.mean() == pytest.approx(balanced.value)
    known = accuracy(scores_of(np.zeros(100, np.int64), 2), labels, name="linear", title="linear", protocol="p")
    assert (plain.value, plain.low, plain.high, plain.details["top5"]) == (known.value, known.low, known.high, None)


def test_it_is_what_others_compute():
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.choice(7, 200, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05, 0.0])
        chosen = np.where(rng.random(200) < 0.6, labels, rng.integers(0, 7, 200))
        matrix = confusion(chosen, labels, 7)
        assert (matrix == confusion_matrix(labels, chosen, labels=range(7))).all()
        assert mean_recall(matrix)[0] == pytest.approx(balanced_accuracy_score(labels, chosen))
        assert 100 * rated(chosen, labels, 7)[1].each.mean() == pytest.approx(100 * mean_recall(matrix)[0])


def test_equal_classes_need_no_second_number():
    labels = np.repeat([0, 1, 2], 10)
    assert [one.name for one in rated(labels, labels, 3)] == ["linear"]
    assert [one.name for one in rated(np.zeros(10, np.int64), np.zeros(10, np.int64), 3)] == ["linear"]  # one class


def test_the_interval_of_one_class_is_wilsons():
    labels, chosen = np.zeros(40, np.int64), np.repeat([0, 1], [30, 10])
    found = accuracy(scores_of(chosen, 2), labels, name="x", title="x", protocol="p")
    mean, low, high = mean_recall(confusion(chosen, labels, 2))
    assert [round(100 * value, 2) for value in (mean, low, high)] == [found.value, found.low, found.high]


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Three classes of 100, 20 and 5 images, found with probabilities of 0.9, 0.5 and 0.2."""
    rng, sizes, found, hits = np.random.default_rng(1), np.array([100, 20, 5]), np.array([0.9, 0.5, 0.2]), 0
    for _ in range(300):
        right = rng.binomial(sizes, found)
        matrix = np.diag(right)
        matrix[:, 0] += sizes - right
        matrix[0, 0] = right[0]
        matrix[0, 1] = sizes[0] - right[0]
        _, low, high = mean_recall(matrix)
        hits += low <= found.mean() <= high
    assert 0.92 <= hits / 300 <= 0.99
