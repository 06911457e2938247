"""Few labels: balanced draws that are nested and repeatable, nothing chosen on test images, the encoder untouched."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from measuring import Given, measured

from clsp.__main__ import main
from clsp.encoders.export import load_encoder
from clsp.errors import UserError
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluators import few_labels, linear
from clsp.evaluation.evaluators.few_labels import FewLabels, draw_labels, fine_tune
from clsp.evaluation.task import make_task
from clsp.recipes.recipe import load_recipe

CONFIG = EvaluateConfig(regularisation=[0.1, 1.0], neighbours=[1, 5], temperatures=[0.07], label_fractions=[0.1, 0.5])
TUNED = dataclasses.replace(CONFIG, label_fractions=[0.25], label_draws=2, fine_tune_epochs=10)


@pytest.fixture
def task(make_images):
    return make_task(make_images(120, 60), CONFIG, seed=0)


def features_of(task, noise=0.0):
    """One feature a class, and noise."""
    rng = np.random.default_rng(0)
    parts = [np.eye(3)[part.labels] + noise * rng.normal(size=(len(part), 3)) for part in (task.train, task.test)]
    return tuple(torch.from_numpy(part).float() for part in parts)


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.001, [1, 1, 1]), (0.1, [10, 10, 10]), (0.4, [40, 40, 20]), (1.0, [100, 100, 20])]
)
def test_draws_are_balanced_as_far_as_the_classes_go(fraction, expected):
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [150, 130, 20]))
    rows = draw_labels(labels, fraction, seed=0, number=0)
    assert np.unique(labels[rows], return_counts=True)[1].tolist() == expected
    assert len(set(rows.tolist())) == len(rows)


def test_draws_are_named_by_seed_and_number_and_smaller_ones_lie_in_larger_ones():
    labels = np.arange(300) % 5
    drawn = [draw_labels(labels, fraction, seed=0, number=0).tolist() for fraction in (0.02, 0.1, 0.5, 1.0)]
    for smaller, larger in pairwise(drawn):
        assert set(smaller) < set(larger)
    assert drawn[-1] == list(range(300))
    assert draw_labels(labels, 0.1, seed=0, number=0).tolist() == drawn[1]
    assert draw_labels(labels, 0.1, seed=0, number=1).tolist() != drawn[1]
    assert draw_labels(labels, 0.1, seed=1, number=0).tolist() != drawn[1]


def test_the_order_of_the_draw_is_that_of_chance():
    """Every image is drawn about equally often."""
    labels = np.arange(40) % 2
    drawn = np.bincount(np.concatenate([draw_labels(labels, 0.25, seed=0, number=n) for n in range(400)]))
    assert drawn.sum() == 4000
    assert 60 < drawn.min() <= drawn.max() < 140


def few(task, features, config):
    return FewLabels(config)(Given(task, features), task)


def test_perfect_features_need_one_label_of_each_class(task):
    one = dataclasses.replace(CONFIG, label_fractions=[0.001], label_draws=4)
    (found,) = few(task, features_of(task), one)
    assert found.details == {"fraction": 0.001, "labels": 3, "draws": 4}
    assert (found.low, found.value, found.high) == (100, 100, 100)
    assert "3 of 120 labelled train images (1 of each class), drawn 4 times" in found.protocol
    assert "C = 1, not chosen" in found.protocol
    assert "60 test images" in found.protocol


def test_the_spread_is_that_of_the_draws(task):
    config, features = dataclasses.replace(CONFIG, label_fractions=[0.1]), features_of(task, noise=0.5)
    (found,) = few(task, features, config)
    each = []
    for number in range(3):
        rows = draw_labels(task.train.labels, 0.1, seed=0, number=number)
        probe = linear.LinearProbe(features[0].numpy()[rows], task.train.labels[rows], 1.0)
        each.append(100 * (probe.scores(features[1].numpy(), 3).argmax(1) == task.test.labels).mean())
    assert found.value == pytest.approx(np.mean(each), abs=0.006)
    assert (found.low, found.high) == pytest.approx((min(each), max(each)), abs=0.006)
    assert found.low < found.high


def test_c_is_chosen_on_drawn_labels_alone_and_only_where_they_suffice(task, monkeypatch):
    seen, original = [], linear.choose
    monkeypatch.setattr(linear, "choose", lambda *a: (seen.append(a), original(*a))[1])
    features = features_of(task, noise=0.5)
    less, many = few(task, features, CONFIG)
    assert "not chosen" in less.protocol
    assert "chosen on a fifth of each draw" in many.protocol
    assert len(seen) == 3
    for number, (fit, labels, _, held, _) in enumerate(seen):
        rows = draw_labels(task.train.labels, 0.5, seed=0, number=number)
        assert np.array_equal(fit, features[0].numpy()[rows])
        assert np.bincount(labels[held]).tolist() == [4, 4, 4]
    other = dataclasses.replace(task.test, labels=(task.test.labels + 1) % 3)
    again = few(dataclasses.replace(task, test=other), features, CONFIG)
    assert [found.protocol for found in again] == [less.protocol, many.protocol]
    assert again[1].value < 50 < many.value


def test_more_labels_of_the_same_draw_do_better(task):
    config = dataclasses.replace(CONFIG, label_fractions=[0.03, 1.0])
    less, many = few(task, features_of(task, noise=0.7), config)
    assert (less.details["labels"], many.details["labels"]) == (3, 120)
    assert less.value < many.value


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 2], [1, 3]])
def test_a_probe_is_one_linear_layer(labels):
    rng = np.random.default_rng(0)
    labels = np.array(labels)[rng.integers(0, len(labels), 60)]
    features = rng.normal(size=(60, 5)) * [1, 10, 100, 0.1, 1] + np.eye(5)[labels]
    probe = linear.LinearProbe(features, labels, 1.0)
    weight, bias = probe.layer(5)
    layer = torch.log_softmax(torch.from_numpy(features @ weight.T + bias), dim=1).exp().numpy()
    np.testing.assert_allclose(layer, np.exp(probe.scores(features, 5)), atol=1e-9)


def test_fine_tuning_learns_and_leaves_the_encoder_as_it_was(encoder, task):
    before = {path.name: path.read_bytes() for path in encoder.iterdir()}
    longer = dataclasses.replace(TUNED, fine_tune_epochs=40, fine_tune_lr=0.003)
    result, _ = measured(encoder, task, longer)
    assert {path.name: path.read_bytes() for path in encoder.iterdir()} == before
    probe, tuned = (result[f"few_labels_0.25_{kind}"] for kind in ("probe", "fine_tuned"))
    assert tuned.details["labels"] == 30
    assert tuned.low <= tuned.value <= tuned.high
    assert tuned.value > probe.value
    assert "40 steps of AdamW with highest rate 0.003, not chosen" in tuned.protocol
    again, _ = measured(encoder, task, longer)
    assert again.record() == result.record()


def test_fine_tuning_changes_all_weights_and_no_statistics(encoder, task):
    rows = draw_labels(task.train.labels, 0.25, seed=0, number=0)
    features = torch.randn(len(rows), 16, generator=torch.Generator().manual_seed(0)).numpy()
    probe = linear.LinearProbe(features, task.train.labels[rows], 1.0)
    tuned = fine_tune(encoder, task, rows, probe, TUNED, title="test")
    assert not tuned.training
    for name, value in load_encoder(encoder).state_dict().items():
        is_statistic = "running" in name or "num_batches" in name
        assert torch.equal(tuned[0].state_dict()[name], value) == is_statistic, name


def test_fine_tuning_begins_as_the_probe(encoder, task):
    features = measured(encoder, task, dataclasses.replace(CONFIG, label_fractions=[]))[1].test
    probe = linear.LinearProbe(features.numpy(), task.test.labels, 1.0)
    rows = np.arange(30)
    still = dataclasses.replace(TUNED, fine_tune_lr=1e-12)
    model = fine_tune(encoder, task, rows, probe, still, title="test")
    images = (torch.from_numpy(task.test.images).float() / 255 - 0.5) / 0.2
    np.testing.assert_allclose(
        torch.log_softmax(model(images), dim=1).detach().numpy(), probe.scores(features.numpy(), 3), atol=1e-3
    )


def test_fine_tuning_is_the_same_beside_other_processes(encoder, task, monkeypatch):
    """Evaluation is the first process's alone: it does not take a share of each batch."""
    alone = measured(encoder, task, TUNED)[0].record()
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert measured(encoder, task, TUNED)[0].record() == alone


@pytest.mark.parametrize(("count", "epochs", "steps"), [(10, 30, 30), (100, 30, 47), (640, 5, 50), (50_000, 100, 1000)])
def test_steps_of_the_fine_tuning_are_bounded(count, epochs, steps):
    assert few_labels._steps(count, epochs) == steps


def test_nothing_is_done_with_few_labels_unless_asked(encoder, task):
    result, _ = measured(encoder, task, dataclasses.replace(CONFIG, label_fractions=[]))
    assert set(result.record()) == {"measures", "linear", "knn", "retrieval"}


def test_a_diffusion_model_has_a_probe_and_no_fine_tuning(task):
    assert [found.name for found in few(task, features_of(task), TUNED)] == ["few_labels_0.25_probe"]


@pytest.mark.parametrize("channels", [1, 3])
def test_transfer_to_images_of_other_channels_and_size(encoder, make_images, tmp_path, capsys, channels):
    images = make_images(120, 60, channels=channels, size=20)
    parts = {"x_train": images.train.images, "y_train": images.train.labels}
    np.savez(tmp_path / "other.npz", **parts, x_test=images.test.images, y_test=images.test.labels)
    arguments = ["evaluate", "--encoder", encoder, "--data", tmp_path / "other.npz", "--out", tmp_path / "scores.json"]
    options = ["--label-fractions", "[0.1]", "--fine-tune-epochs", "2", "--label-draws", "1"]
    assert main([str(argument) for argument in [*arguments, *options]]) == 0
    record = json.loads((tmp_path / "scores.json").read_text())
    few = "few_labels_0.1_probe"
    names = ("linear", "knn", "retrieval", few, "few_labels_0.1_fine_tuned")
    assert set(record) == {"encoder", "data", "notes", "measures", *names}
    assert all(record[name]["protocol"] for name in ("linear", "knn", "retrieval"))
    assert ("gray repeated to 3 channels" in " ".join(record["notes"])) == (channels == 1)
    said = capsys.readouterr().out
    assert f"retrieval mAP {record['retrieval']['map']:.2f} %" in said
    assert f"12 labels, probe accuracy {record[few]['top1']:.2f} % (lowest and highest draw" in said
    assert record[few]["protocol"] in said


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("label_fractions", "[0.1, 1.5]", "at most 1"),
        ("label_fractions", "[0]", "above 0"),
        ("label_draws", "0", "at least 1"),
        ("fine_tune_epochs", "-1", "at least 0"),
        ("fine_tune_lr", "0", "above 0"),
        ("retrieval_queries", "0", "at least 1"),
    ],
)
def test_values_that_make_no_sense_are_refused(option, value, allowed):
    with pytest.raises(UserError, match=rf"--evaluate\.{option} .* must be {allowed}"):
        load_recipe(None, {"evaluate": {option: value}})
