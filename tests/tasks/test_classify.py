"""A classifier from wrong labels: what noise is, what a step minimises, and what comes out of the whole command."""

from __future__ import annotations

import csv
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import nn

import clsp
from clsp import files
from clsp.cli.main import dispatch
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.objectives.consistency import neighbour_consistency
from clsp.positives.positive import Positive
from clsp.tasks.classify.config import ClassifyConfig, ConsistencyConfig, NoiseConfig
from clsp.tasks.classify.labels import train_labels, with_noise
from clsp.tasks.classify.stage import divided
from clsp.tasks.classify.suspects import Suspects, by_heart
from clsp.tasks.classify.training import Classifier, Classifying, margins
from clsp.tasks.views import Drawing
from tiny import images_of
from tiny import plain_spec as spec

CLASSES = ("cat", "dog", "owl", "fox")
QUICK = {
    "classify.epochs": 2, "classify.batch_size": 32, "images.limit": 200, "classify.backbone.args":
    {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8},
}  # fmt: skip


def noisy(kind, rate, mapped=None, count=8000, seed=0):
    right, ids = np.arange(count) % 4, np.arange(count) * 3
    noise = NoiseConfig(kind=kind, rate=rate, map=mapped or {})
    return right, with_noise(right, ids, noise, CLASSES, seed=seed)


def test_symmetric_noise_takes_any_other_class_and_no_more_labels_than_were_asked_for():
    right, given = noisy("symmetric", 0.4)
    wrong = given != right
    assert abs(wrong.mean() - 0.4) < 4 * (0.4 * 0.6 / 8000) ** 0.5
    counts = np.bincount((given - right)[wrong] % 4, minlength=4)
    assert counts[0] == 0 and (abs(counts[1:] - wrong.sum() / 3) < 4 * (wrong.sum() * 2 / 9) ** 0.5).all()


def test_noise_is_the_image_s_own_whoever_else_is_there():
    right, given = noisy("symmetric", 0.4)
    part = with_noise(right[::5], np.arange(8000)[::5] * 3, NoiseConfig(kind="symmetric", rate=0.4), CLASSES, seed=0)
    assert (part == given[::5]).all()
    assert (noisy("symmetric", 0.4, seed=1)[1] != given).any()


def test_asymmetric_noise_follows_its_map_by_name_or_number():
    right, given = noisy("asymmetric", 0.3, {"cat": "dog", "2": "fox"})
    assert (given[(right == 1) | (right == 3)] == right[(right == 1) | (right == 3)]).all()
    for source, target in ((0, 1), (2, 3)):
        of = given[right == source]
        assert set(of) == {source, target} and abs((of == target).mean() - 0.3) < 0.05


@pytest.mark.parametrize("mapped", [None, {"cat": "hog"}, {"7": "dog"}])
def test_a_map_that_says_nothing_or_names_no_class_is_refused(mapped):
    with pytest.raises(UserError, match=r"noise\.map"):
        noisy("asymmetric", 0.3, mapped)


def test_a_column_of_noisy_labels_is_learnt_from_and_the_labels_are_the_right_ones():
    images = images_of(6, 3)
    right = images.train.labels
    assert train_labels(images, NoiseConfig(), count=None, seed=0).right is None
    column = [images.classes[(label + 1) % 3] for label in right]
    images.train.__dict__["columns"] = {"noisy_label": column}
    found = train_labels(images, NoiseConfig(), count=None, seed=0)
    assert (found.given == (right + 1) % 3).all() and (found.right == right).all() and found.wrong.all()
    with pytest.raises(UserError, match=r"noise\.kind"):
        train_labels(images, NoiseConfig(kind="symmetric", rate=0.1), count=None, seed=0)


class Tiny(nn.Module):
    num_features = 6

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 6)

    def forward(self, x):
        return self.layer(x.flatten(1)).relu()


def training(config=None, candidates=None, pretrained=False):
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (24, 1, 8, 8), dtype=np.uint8)
    config = config or {}
    config = ClassifyConfig(**{"batch_size": 12, "epochs": 10, **config})
    labels, ids = np.arange(24) % 4, np.arange(24) * 2
    drawing, classifier = Drawing(spec(), config.augment, seed=0), Classifier(Tiny(), 4)
    given = {"pretrained": pretrained, "candidates": candidates}
    made = Classifying(classifier, config, drawing, Pixels(images), ids, labels, **given)
    made.to_device(torch.device("cpu"))
    return made


def seen(made, number, view=0):
    """Logits and features of a step's images, computed apart."""
    positions = made.batches.positions(number)
    images = made.drawing(made.pixels[positions], made.ids[positions], number, view)
    return *made.classifier(images), made.labels[positions]


def test_without_consistency_a_step_is_the_cross_entropy():
    made = training()
    logits, _, labels = seen(made, 3)
    assert dict(made.step(3).terms).keys() == {"cross_entropy"}
    torch.testing.assert_close(made.step(3).loss, F.cross_entropy(logits, labels))
    smooth = training({"label_smoothing": 0.2})
    torch.testing.assert_close(smooth.step(3).loss, F.cross_entropy(logits, labels, label_smoothing=0.2))


def test_consistency_begins_when_it_was_asked_to_and_shares_the_loss():
    made = training({"consistency": ConsistencyConfig(weight=0.3, after=0.5, neighbours=4)})
    assert made.step(9).terms.keys() == {"cross_entropy"}
    logits, features, labels = seen(made, 10)  # of 20
    consistency = neighbour_consistency(logits, features, neighbours=4, temperature=2.0)
    torch.testing.assert_close(made.step(10).loss, 0.7 * F.cross_entropy(logits, labels) + 0.3 * consistency)


def test_candidates_are_neighbours_and_have_no_label():
    def candidates(device):
        return lambda positions, anchors, step: Positive(anchors.flip(-1))

    config = {"consistency": ConsistencyConfig(weight=0.3, after=0.0, neighbours=4)}
    made = training(config, candidates)
    logits, features, labels = seen(made, 2)
    positions = made.batches.positions(2)
    flipped = made.drawing(made.pixels[positions].flip(-1), made.ids[positions], 2, 1)
    more = made.classifier(flipped)
    consistency = neighbour_consistency(logits, features, neighbours=4, temperature=2.0, more=more)
    torch.testing.assert_close(made.step(2).loss, 0.7 * F.cross_entropy(logits, labels) + 0.3 * consistency)


def test_mixup_keeps_at_least_half_of_an_image_and_mixes_its_label_as_much():
    made = training({"mixup": 0.5})
    ids, images = made.ids[:12], torch.rand(12, 1, 8, 8)
    targets = F.one_hot(torch.arange(12) % 4, 4).float()
    mixed, soft = made._mixed(images, targets, ids, 0)
    kept = (mixed - images.flip(0)).flatten(1).norm(dim=1) / (images - images.flip(0)).flatten(1).norm(dim=1)
    assert (kept >= 0.5 - 1e-6).all() and kept.std() > 0.05
    torch.testing.assert_close(soft, kept[:, None] * targets + (1 - kept[:, None]) * targets.flip(0))


def test_an_encoder_whose_rate_is_zero_stays_as_it_is():
    made = training({"encoder_lr": 0.0}, pretrained=True)
    optimizer, _ = made.optimizer()
    assert [len(group["params"]) for group in optimizer.param_groups] == [2]
    made.step(0).loss.backward()
    assert all(parameter.grad is None for parameter in made.classifier.encoder.parameters())


def test_margins_are_the_label_s_logit_less_the_largest_other_one():
    logits = torch.tensor([[1.0, 4.0, 2.0], [3.0, 3.0, -1.0]])
    assert margins(logits, torch.tensor([1, 0])).tolist() == [2.0, 0.0]
    assert margins(logits, torch.tensor([2, 2])).tolist() == [-2.0, -4.0]


def test_every_visit_of_the_second_half_counts_in_the_margin_of_its_image():
    made, every = training(), {}
    for number in range(20):
        made(number)
        made.after_step(number)
        for place, margin in zip(made.output.positions.tolist(), made.output.margins.tolist(), strict=True):
            every.setdefault(place, []).append(margin)
    means = [np.mean(every[place][5:]) for place in range(24)]  # each is seen once an epoch, of ten
    np.testing.assert_allclose(made.margins, means, rtol=1e-6)


def test_the_list_is_rated_by_what_is_wrong_and_the_first_is_the_worst():
    values = np.array([0.5, -2.0, -0.5, 1.0, -1.0])
    listed = Suspects.of(values, np.eye(5, 3))
    assert listed.places.tolist() == [1, 4, 2]
    rated = listed.rated(values, np.array([False, True, False, True, True]))
    assert rated["precision"] == pytest.approx(2 / 3) and rated["recall"] == pytest.approx(2 / 3)
    assert Suspects.of(np.ones(3), np.eye(3)).rated(np.ones(3), np.zeros(3, bool)) == {
        "precision": None, "recall": None, "average_precision": None, "wrong": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(("right", "accuracy", "learnt"), [(98, 58.7, True), (98, 95.0, False), (80, 58.7, False)])
def test_a_list_is_called_blind_where_labels_were_learnt_by_heart(right, accuracy, learnt):
    given = np.arange(100) % 4
    said = by_heart(given, np.eye(4)[np.where(np.arange(100) < right, given, (given + 1) % 4)], accuracy)
    assert (said is not None) == learnt
    if said:
        assert "98.0 % of the train images" in said and "58.7 %" in said


def test_wrong_labels_of_the_digits_are_found(tmp_path):
    """The whole command, on labels of which two fifths are wrong."""
    settings = {
        "classify.epochs": 25, "classify.noise.kind": "symmetric", "classify.noise.rate": 0.4,
        "classify.consistency.weight": 0.3,
    }  # fmt: skip
    folder = clsp.classify("digits", tmp_path / "made", settings=settings)
    found = files.read_json(folder / "metrics.json")
    rated = found["suspects"]["rated"]
    assert found["accuracy"]["top1"] > 80 and rated["precision"] > 0.65 and rated["recall"] > 0.9
    rows = list(csv.DictReader((folder / "suspects.csv").open()))
    assert len(rows) == found["suspects"]["count"] and rows[0].keys() >= {"name", "label", "suggested", "confidence"}
    truth = load_digits().target
    named = [row["suggested"] == str(truth[int(row["name"].split("/")[1])]) for row in rows]
    assert np.mean(named) > 0.8
    page = (folder / "report.html").read_text()
    assert rows[0]["name"] in page and "probably wrong" in page
    predicted = clsp.predict(folder, "digits")
    assert np.mean(np.array(predicted.chosen) == [str(truth[int(n.split("/")[1])]) for n in predicted.names]) > 0.8
    done = subprocess.run([sys.executable, "-I", folder / "snippet.py"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert dispatch(["verify", str(folder)]) == 0


def test_it_starts_from_an_encoder_of_clsp_and_takes_images_as_that_one_does(tmp_path):
    clsp.classify("digits", tmp_path / "first", settings={**QUICK, "images.size": 12})
    start = load_file(tmp_path / "first" / "encoder.safetensors")
    frozen = {**QUICK, "classify.encoder_lr": 0.0}
    clsp.classify("digits", tmp_path / "second", encoder=tmp_path / "first", settings=frozen)
    made = load_file(tmp_path / "second" / "encoder.safetensors")
    assert all(torch.equal(start[name], made[name]) for name in start)
    assert files.read_json(tmp_path / "second" / "images.json")["size"] == 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--classify.noise.rate", "1.2"], "below 1"),
        (["--noise.kind", "assymetric"], "symmetric"),
        (["--epoch", "3"], "--classify.epochs"),
        (["--images.labels", "none"], "no labels"),
        (["--encoder", "nowhere"], "config.json"),
        (["--positives", "nowhere"], "nowhere"),
        (["--batch_size", "5000"], "larger than"),
    ],
)
def test_a_mistake_ends_in_one_line(tmp_path, capsys, arguments, said):
    assert dispatch(["classify", "--data", "digits", "--out", str(tmp_path / "x"), *arguments]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("clsp: error") and said in last


def test_classes_of_one_image_leave_none_to_test_on(tmp_path):
    images = images_of(3, None, channels=1, size=8)
    with pytest.raises(UserError, match="no class has two of the 3 images"):
        divided(images, ClassifyConfig(), seed=0)


def test_what_a_task_made_is_explored_and_its_images_are_opened(tmp_path):
    clsp.classify("digits", tmp_path / "made", settings=QUICK)
    assert len(clsp.images_of(tmp_path / "made").train) == 200
    assert clsp.explore(tmp_path / "made").path.stat().st_size > 10_000
