"""Evaluation: frozen, exact, and blind to the test images while it chooses."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from measuring import measured
from scipy.stats import binomtest

from clsp.encoders.export import read_spec, save_encoder
from clsp.encoders.features import encode_images
from clsp.engine import neighbours
from clsp.engine.neighbours import nearest
from clsp.errors import UserError
from clsp.evaluation import trained as training
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluators import knn, linear
from clsp.evaluation.measure import accuracy, difference
from clsp.evaluation.online import OnlineKNN
from clsp.evaluation.task import make_task, set_apart
from clsp.images.imageset import Images, Split, subset

CONFIG = EvaluateConfig(regularisation=[0.1, 1.0], neighbours=[1, 5, 1000], temperatures=[0.07, 1.0])


def test_encoding_changes_neither_weights_nor_statistics_nor_mode(make_images):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = make_images().train.images
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.4])
    whole = encode_images(network, images, mean, std)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not whole.requires_grad
    torch.testing.assert_close(encode_images(network, images, mean, std, batch_size=7), whole, rtol=1e-5, atol=1e-5)
    x = (torch.from_numpy(images).float() / 255 - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    torch.testing.assert_close(whole, network.eval()(x).detach(), rtol=1e-5, atol=1e-5)


def test_evaluation_leaves_the_files_of_the_encoder_as_they_are(encoder, make_images):
    before = {path.name: path.read_bytes() for path in encoder.iterdir()}
    result, trained = measured(encoder, make_task(make_images(), CONFIG, seed=0), CONFIG)
    assert {path.name: path.read_bytes() for path in encoder.iterdir()} == before
    assert result["linear"].value > 50
    assert result["knn"].value > 50
    assert trained.test.shape == (24, 16)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.02), (20, 1.0)])
def test_knn_is_the_brute_force_vote_however_it_is_chunked(monkeypatch, k, temperature):
    rng = np.random.default_rng(0)
    queries, references, labels = rng.normal(size=(30, 6)), rng.normal(size=(40, 6)), rng.integers(0, 4, 40)
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, references)]
    cosine = units[0] @ units[1].T
    expected = np.zeros((30, 4))
    for q in range(30):
        for r in np.argsort(-cosine[q])[:k]:
            expected[q, labels[r]] += np.exp(cosine[q, r] / temperature)
    for chunk in (50_000_000, 40, 1):
        monkeypatch.setattr(neighbours, "_CHUNK", chunk)
        similarities, indices = nearest(torch.from_numpy(queries), torch.from_numpy(references), k)
        scores = knn.vote(similarities, torch.from_numpy(labels)[indices], 4, k=k, temperature=temperature).numpy()
        np.testing.assert_allclose(similarities.numpy(), -np.sort(-cosine, axis=1)[:, :k], rtol=1e-10)
        ratio = expected / expected.sum(1, keepdims=True)
        np.testing.assert_allclose(scores / scores.sum(1, keepdims=True), ratio, rtol=1e-8, atol=1e-12)


def test_the_vote_does_not_overflow():
    scores = knn.vote(torch.tensor([[1.0, 0.99]]), torch.tensor([[0, 1]]), 2, k=2, temperature=1e-3)
    assert bool(torch.isfinite(scores).all())
    assert scores.argmax() == 0


def test_k_and_temperature_are_chosen_by_the_held_out_accuracy():
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(60, 4, generator=generator), torch.randint(0, 3, (60,), generator=generator)
    features[:, 0] += labels
    held = torch.arange(60) % 4 == 0

    def accuracy(k, temperature):
        similarities, indices = nearest(features[held], features[~held], k)
        votes = knn.vote(similarities, labels[~held][indices], 3, k=k, temperature=temperature)
        return float((votes.argmax(1) == labels[held]).float().mean())

    ks, temperatures = [1, 3, 10, 45], [0.07, 1.0]
    chosen = knn.choose(features, labels, 3, held, [*ks, 100], temperatures)
    assert accuracy(*chosen) == max(accuracy(k, t) for k in ks for t in temperatures)
    assert chosen[0] <= 45


def test_a_probe_that_begins_at_anothers_weights_ends_where_it_would_have_ended():
    features, labels, _ = noisy_features()
    first = linear.LinearProbe(features, labels, 0.01)
    for value in (0.1, 1.0):
        cold, warm = linear.LinearProbe(features, labels, value), linear.LinearProbe(features, labels, value, first)
        np.testing.assert_allclose(warm.scores(features, 3), cold.scores(features, 3), atol=0.05)
    assert np.abs(first.scores(features, 3) - cold.scores(features, 3)).max() > 0.1
    two = np.minimum(labels, 1)
    other = linear.LinearProbe(features, two, 1.0, first)  # of other classes: no place to begin at
    assert np.array_equal(other.scores(features, 2), linear.LinearProbe(features, two, 1.0).scores(features, 2))
    cold = linear.LinearProbe(features, two, 1.0)
    warm = linear.LinearProbe(features, two, 1.0, linear.LinearProbe(features, two, 0.01))
    np.testing.assert_allclose(warm.scores(features, 2), cold.scores(features, 2), atol=0.05)


def test_c_is_the_one_that_holds_best_and_weaker_ones_are_not_tried_for_long(monkeypatch):
    features, labels, held = noisy_features()
    values, tried, original = [10.0, 0.001, 0.01, 0.1, 1.0, 100.0], [], linear.LinearProbe

    def accuracy(value):
        probe = original(features[~held], labels[~held], value)
        return (probe.scores(features[held], 3).argmax(axis=1) == labels[held]).mean()

    monkeypatch.setattr(linear, "LinearProbe", lambda *a: (tried.append(a[2]), original(*a))[1])
    chosen = linear.choose(features, labels, 3, held, values).regularisation
    assert accuracy(chosen) == max(map(accuracy, values))
    assert tried == sorted(values)[: sorted(values).index(chosen) + 3]
    assert len(tried) < len(values)


def noisy_features():
    """Features [200, 60] of which one tells the labels (of three), so that strong regularisation holds best."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    features = generator.normal(size=(200, 60))
    features[:, 0] += labels
    return features, labels, np.arange(200) % 4 == 0


def test_choosing_sees_no_test_image(encoder, make_images, monkeypatch):
    task = make_task(make_images(), CONFIG, seed=0)
    seen = []
    for module in (linear, knn):
        original = module.choose
        monkeypatch.setattr(
            module, "choose", lambda *a, original=original: (seen.append((a, original(*a))), seen[-1][1])[1]
        )
    measured(encoder, task, CONFIG)
    labels = dataclasses.replace(task.test, labels=(task.test.labels + 1) % 3, images=255 - task.test.images)
    measured(encoder, dataclasses.replace(task, test=labels), CONFIG)
    assert len(seen) == 4
    for (arguments, chosen), (others, again) in zip(seen[:2], seen[2:]):
        assert getattr(chosen, "regularisation", chosen) == getattr(again, "regularisation", again)
        assert len(arguments[0]) == len(task.train)
        assert np.array_equal(np.asarray(arguments[0]), np.asarray(others[0]))


def test_held_out_images_are_of_every_class_and_a_source_without_test_part_is_parted_by_class(make_images):
    images = make_images(60, None)
    task = make_task(images, CONFIG, seed=0)
    assert np.bincount(task.test.labels).tolist() == [4, 4, 4]
    assert set(task.train.names).isdisjoint(task.test.names)
    assert sorted([*task.train.names, *task.test.names]) == sorted(images.train.names)
    assert np.bincount(task.train.labels[task.held]).tolist() == [2, 2, 2]
    assert "set apart" in task.note
    for split in (task.train, task.test):  # labels and images stay together
        rows = [images.train.names.index(name) for name in split.names]
        assert np.array_equal(split.images, images.train.images[rows])
        assert np.array_equal(split.labels, images.train.labels[rows])
    few = make_task(images, dataclasses.replace(CONFIG, train_images=9), seed=0)
    assert len(few.train) == 9
    assert few.test.names == task.test.names


@pytest.mark.parametrize("test_images", [30, None])
def test_validation_images_are_rated_instead_of_the_test_images_and_seen_by_no_other_stage(make_images, test_images):
    images = make_images(60, test_images)
    plain = make_task(images, dataclasses.replace(CONFIG, train_images=20), seed=0)
    task = make_task(images, dataclasses.replace(CONFIG, train_images=20, validation_images=15), seed=0)
    assert len(task.test) == 15
    assert set(task.test.names) <= set(images.train.names)
    assert set(task.test.names).isdisjoint([*plain.test.names, *task.train.names])
    assert set(task.train.names) <= set(plain.train.names)
    for count in (10, 20, 40):  # the anchors of stages that take some images
        assert set(task.test.names).isdisjoint(images.train.names[row] for row in subset(60, count, seed=0))
    whole = make_task(images, dataclasses.replace(CONFIG, validation_images=15), seed=0)
    assert whole.test.names == task.test.names
    assert len(whole.train) == (45 if test_images else 33)
    partly = images.train.labels.copy()
    partly[::3] = -1
    some = dataclasses.replace(images, train=dataclasses.replace(images.train, labels=partly))
    task = make_task(some, dataclasses.replace(CONFIG, validation_images=7), seed=0)
    assert len(task.test) == 7 and task.test.labels.min() >= 0
    assert set(task.test.names).isdisjoint(images.train.names[row] for row in subset(60, 20, seed=0))
    assert set(whole.train.names).isdisjoint(whole.test.names)
    assert "validation" in task.note
    left = "1 of 60" if test_images else "0 of 48"
    with pytest.raises(UserError, match=rf"--evaluate\.validation_images 59 leaves {left}"):
        make_task(images, dataclasses.replace(CONFIG, validation_images=59), seed=0)


@pytest.mark.parametrize("labels", [[0] * 60, list(range(60)), [0, 1, *[-1] * 58], [0, 0, 1, 1, *[-1] * 56]])
def test_labels_too_few_to_measure_by_are_none(encoder, make_images, labels, capsys):
    for test_images in (None, 1):
        images = make_images(60, test_images)
        images = dataclasses.replace(images, train=dataclasses.replace(images.train, labels=np.array(labels)))
        task = make_task(images, CONFIG, seed=0)
        if task.classes:
            assert labels[:4] == [0, 0, 1, 1]
            measured(encoder, task, CONFIG)
            continue
        assert "nothing is measured by the labels" in capsys.readouterr().err
        assert not task.train.has("label") and not task.test.has("label")


def test_images_that_are_tested_on_are_those_whose_labels_no_training_may_see(make_images):
    for test_images, wanted in ((30, 0), (None, 12)):
        images = make_images(60, test_images)
        apart = set_apart(images, CONFIG, seed=0)
        task = make_task(images, CONFIG, seed=0)
        assert len(apart) == wanted
        assert not wanted or [images.train.names[row] for row in apart] == list(task.test.names)
    held = dataclasses.replace(CONFIG, validation_images=15)
    apart = set_apart(images, held, seed=0)
    assert {images.train.names[row] for row in apart} == set(make_task(images, held, seed=0).test.names)


def test_images_without_label_are_left_out_of_probe_and_knn(encoder, make_images):
    images = make_images(60)
    images.train.labels[::2] = -1
    task = make_task(images, CONFIG, seed=0)
    assert len(task.train) == 30
    assert task.train.labels.min() == 0
    assert task.classes == 3
    assert measured(encoder, task, CONFIG)[0]["linear"].protocol.count("30 labelled") == 1
    online = OnlineKNN.of(images.train, seed=0)
    assert len(online.references) + len(online.queries) == 30
    assert int(torch.cat([online.reference_labels, online.query_labels]).min()) == 0


def test_without_labels_nothing_is_scored(encoder, make_images):
    labelled = make_images()
    images = Images(source="made", train=Split(images=labelled.train.images, names=labelled.train.names))
    task = make_task(images, CONFIG, seed=0)
    result, trained = measured(encoder, task, CONFIG)
    assert (task.classes, result.measures) == (0, ())
    assert "few_labels need labels, and this source has none: skipped" in result.record()["skipped"]
    assert trained.test.shape == (48, 16)
    assert OnlineKNN.of(images.train, seed=0) is None


def test_features_are_kept_for_the_same_encoder_and_task_alone(encoder, make_images, tmp_path, monkeypatch):
    calls = []
    original = training.encode_by
    monkeypatch.setattr(training, "encode_by", lambda *a, **k: (calls.append(1), original(*a, **k))[1])
    cache, images = tmp_path / "cache.safetensors", make_images()

    def run(images=images, folder=encoder, config=CONFIG):
        calls.clear()
        _, trained = measured(folder, make_task(images, config, seed=0), config, cache=cache)
        return bool(calls), trained

    fresh, first = run()
    assert fresh
    fresh, again = run()
    assert not fresh
    assert torch.equal(first.test, again.test)
    assert run(config=dataclasses.replace(CONFIG, train_images=30))[0]
    assert run()[0]
    assert run(make_images(seed=1))[0]
    assert run()[0]
    other_test = dataclasses.replace(images, test=make_images(seed=1).test)  # the same train part
    assert run(other_test)[0]
    assert run()[0]
    other = shutil.copytree(encoder, tmp_path / "other")
    spec = read_spec(other)
    torch.manual_seed(1)
    save_encoder(other, spec.build(), spec, {})
    assert run(folder=other)[0]
    cache.write_bytes(b"damaged")
    assert run()[0]
    assert not run()[0]


def test_an_encoder_of_other_channels_is_refused(encoder, make_images):
    with pytest.raises(UserError, match=r"takes 3-channel images, the data have 1; add --images.channels 3"):
        measured(encoder, make_task(make_images(channels=1), CONFIG, seed=0), CONFIG)


@pytest.mark.parametrize(("right", "total"), [(0, 10), (7, 10), (10, 10), (431, 1000)])
def test_the_interval_is_wilsons(right, total):
    scores = np.eye(3)[np.where(np.arange(total) < right, 0, 1)]
    result = score(scores, np.zeros(total, int))
    z, p = 1.959963985, right / total
    middle, half = p + z**2 / (2 * total), z * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    assert result.value == pytest.approx(100 * p)
    assert result.low == pytest.approx(100 * (middle - half) / (1 + z**2 / total), abs=0.011)
    assert result.high == pytest.approx(100 * (middle + half) / (1 + z**2 / total), abs=0.011)
    assert result.details["top5"] is None
    assert binomtest(right, total).k == int(result.each.sum())


def score(scores, labels):
    return accuracy(scores, labels, name="linear", title="linear", protocol="p")


def test_top5_is_counted_where_there_are_more_classes():
    scores = np.tile(np.arange(8.0), (8, 1))  # ranks 7, 6, 5, ...
    assert score(scores, np.arange(8)).details["top5"] == pytest.approx(62.5)
    assert score(scores, np.arange(8)).value == pytest.approx(12.5)


def test_the_difference_is_paired():
    labels = np.zeros(200, int)
    rng = np.random.default_rng(0)
    wrong = [rng.random(200) < fraction for fraction in (0.3, 0.4)]
    first, second = (score(np.eye(2)[w.astype(int)], labels).each for w in wrong)
    gaps = 100 * (wrong[1].astype(float) - wrong[0].astype(float))
    found, spread = difference(first, second), 1.96 * gaps.std(ddof=1) / 200**0.5
    assert [found["mean"], found["low"], found["high"]] == pytest.approx(
        [gaps.mean(), gaps.mean() - spread, gaps.mean() + spread], abs=0.011
    )
    assert difference(first, first) == {"mean": 0, "low": 0, "high": 0}


def test_the_probe_ignores_the_scale_of_features_and_knows_absent_classes():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = rng.normal(size=(60, 5)) + 3 * np.eye(5)[labels]
    scales = np.array([1e-3, 1, 10, 100, 1e4])
    one, two = (linear.LinearProbe(f, labels, 1.0).scores(f, 4) for f in (features, features * scales))
    np.testing.assert_allclose(one[:, :3], two[:, :3], rtol=1e-3, atol=1e-3)
    assert np.isneginf(one[:, 3]).all()
    np.testing.assert_allclose(np.exp(one).sum(1), 1)
    assert (one.argmax(1) == labels).mean() > 0.9
