"""What a classifier of real labels says of candidates, and how far from real images an encoder sees them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clsp.encoders.export import EncoderSpec
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.distance import distance_seen_by, kid
from clsp.evaluation.judge import judge_candidates
from clsp.evaluation.task import make_task
from clsp.positives.bank import PositiveBank

SPEC = EncoderSpec(
    name="resnet18", args={"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 16]}, stem="small", channels=3, size=16,
    mean=[0.5] * 3, std=[0.25] * 3,
)  # fmt: skip


def judged(images, candidates, ids):
    manifest = {"candidates": candidates.shape[1], "shape": list(candidates.shape[2:])}
    bank = PositiveBank(None, manifest, ids, [candidates])
    found = judge_candidates(bank, images, make_task(images, EvaluateConfig(), seed=0), SPEC, epochs=20, seed=0)
    return {name: entry["value"] for name, entry in found.items()}


@pytest.fixture
def images(make_images):
    return make_images(600)


def test_other_images_of_the_class_agree(images):
    ids = np.arange(0, 240)
    others = images.train.images[240 + ids].transpose(0, 2, 3, 1)[:, None]  # the classes take turns: the same class
    values = judged(images, others, ids)
    assert values["classifier_accuracy"] > 0.9
    assert values["classifier_agreement"] > 0.9


def test_images_of_another_class_do_not_agree(images):
    ids = np.arange(0, 240)
    wrong = images.train.images[241 + ids].transpose(0, 2, 3, 1)[:, None]
    assert judged(images, wrong, ids)["classifier_agreement"] < 0.1


def test_candidates_of_which_no_anchor_has_a_label_are_not_judged(images):
    labels = np.where(np.arange(600) < 240, -1, images.train.labels)
    partly = replace(images, train=replace(images.train, labels=labels))
    others = images.train.images[240:480].transpose(0, 2, 3, 1)[:, None]
    assert judged(partly, others, np.arange(240)) == {}


def test_an_encoder_sees_other_images_near_and_noise_far(images, encoder):
    real, others = images.train.images[:240], images.train.images[240:480]
    noise = np.random.default_rng(0).integers(0, 256, real.shape).astype(np.uint8)
    assert abs(distance_seen_by(encoder, others, real)) < 0.1
    assert distance_seen_by(encoder, noise, real) > 0.2


def test_the_kernel_distance_is_the_mean_over_pairs():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(5, 3, generator=generator), torch.randn(4, 3, generator=generator) + 1.0

    def kernel(x, y):
        return (float(x @ y) / 3 + 1) ** 3

    within = [
        np.mean([kernel(a[i], a[j]) for i in range(len(a)) for j in range(len(a)) if i != j]) for a in (first, second)
    ]
    across = np.mean([kernel(x, y) for x in first for y in second])
    assert kid(first, second) == pytest.approx(sum(within) - 2 * across, rel=1e-5)
    alike = torch.randn(2, 500, 16, generator=generator)
    assert abs(kid(*alike)) < 0.02
