"""The gate tells noise, and candidates that have nothing to do with their anchors, from those that are of use."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsp.diffusion.unet import build_unet
from clsp.positives import gate
from clsp.positives.appearance import statistics, strange, strange_real, untypical
from clsp.positives.following import coarse_pixels, following
from clsp.positives.gate import judge
from clsp.positives.verdict import Judged, Verdict


def pictures(count, seed, *, channels=3, size=16):
    """Smooth images with an edge, uint8 [N, C, H, W]: neighbours go with each other, as in real images."""
    rng = np.random.default_rng(seed)
    at = np.linspace(0, 1, size)
    angle, phase = rng.uniform(0, np.pi, (2, count, 1, 1, 1))
    wave = np.sin(6 * (np.cos(angle) * at[:, None] + np.sin(angle) * at) + 9 * phase)
    wave = np.where(wave > 0.3, wave, wave - 0.8)
    colour = rng.uniform(0.2, 0.8, (count, channels, 1, 1))
    grain = rng.normal(0, rng.uniform(0.0, 0.02, (count, 1, 1, 1)), (count, channels, size, size))
    strength = rng.uniform(0.05, 0.25, (count, channels, 1, 1))
    return (np.clip(colour + strength * wave + grain, 0, 1) * 255).astype(np.uint8)


REAL, ANCHORS = pictures(400, 1), pictures(100, 2)
NOISE = np.random.default_rng(3).integers(0, 256, (100, 2, 3, 16, 16)).astype(np.uint8)


def changed(by, seed=4):
    """Candidates that are their anchors with noise of the deviation ``by``."""
    noise = np.random.default_rng(seed).normal(0, by, (100, 2, 3, 16, 16))
    return np.clip(ANCHORS[:, None] + noise, 0, 255).astype(np.uint8)


def test_candidates_that_look_and_follow_pass():
    verdict = judge(changed(3), ANCHORS, REAL)
    assert verdict.passed, verdict.reasons
    assert verdict.measures["follows"].value > 0.95
    assert verdict.reasons == []


def test_noise_fails_in_plain_words():
    verdict = judge(NOISE, ANCHORS, REAL)
    assert not verdict.passed
    assert verdict.measures["follows"].value == pytest.approx(0.5, abs=0.06)
    assert verdict.measures["strange"].value == 1
    assert "do not follow their anchors" in verdict.reasons[0]
    assert "look like no real image" in verdict.reasons[1]


def test_real_images_of_other_anchors_fail_by_following_alone():
    """The case that looks alone cannot tell: a bank that is well drawn and shows something else."""
    verdict = judge(pictures(200, 9).reshape(100, 2, 3, 16, 16), ANCHORS, REAL)
    assert len(verdict.reasons) == 1
    assert "do not follow" in verdict.reasons[0]


def test_anchors_below_noise_follow_and_fail_by_their_looks():
    verdict = judge(changed(50), ANCHORS, REAL)
    assert verdict.measures["follows"].passed
    assert not verdict.measures["untypical"].passed
    assert not verdict.passed


def test_one_picture_for_all_anchors_follows_nobody():
    verdict = judge(np.broadcast_to(ANCHORS[:1, None], (100, 2, 3, 16, 16)), ANCHORS, REAL)
    assert verdict.measures["follows"].value == pytest.approx(0.5, abs=0.1)
    assert not verdict.passed


def test_pixels_that_are_cut_off_fail_unless_the_data_are_such():
    line_art = np.where(ANCHORS > 128, 255, 0).astype(np.uint8)
    candidates = np.repeat(line_art[:, None], 2, axis=1)
    assert not judge(candidates, ANCHORS, REAL).measures["cut_off"].passed
    assert judge(candidates, line_art, np.where(REAL > 128, 255, 0).astype(np.uint8)).measures["cut_off"].passed


def test_copies_and_the_models_own_samples_are_told_and_do_not_decide():
    verdict = judge(np.repeat(ANCHORS[:, None], 2, axis=1), ANCHORS, REAL, samples=NOISE[:, 0])
    assert verdict.passed
    assert any("copies of train images" in text for text in verdict.warnings)
    assert any("own samples look unlike the data" in text for text in verdict.warnings)


def test_the_model_that_drew_them_does_not_tell_whether_they_follow(tiny_diffusion):
    torch.manual_seed(0)
    unet = build_unet(tiny_diffusion(), channels=3, size=16).eval()
    by_pixels = judge(changed(3), ANCHORS, REAL).measures["follows"]
    assert judge(changed(3), ANCHORS, REAL, unet=unet).measures["follows"] == by_pixels


def test_candidates_of_a_smaller_model_are_held_against_what_it_sees(tiny_diffusion):
    """Real images that were brought to the model's size and back are the best that it can draw."""
    torch.manual_seed(0)
    unet = build_unet(tiny_diffusion(size=8), channels=3, size=16).eval()
    lines = np.where(pictures(500, 5) > 128, 255, 0).astype(np.uint8)
    best = np.repeat(gate.through(unet, lines[400:])[:, None], 2, axis=1)
    plain, fair = (judge(best, lines[400:], lines[:400], unet=model) for model in (None, unet))
    assert fair.measures["untypical"].value < 0.3 < plain.measures["untypical"].value
    assert fair.measures["strange"].value <= 0.1 < plain.measures["strange"].value


def test_following_is_the_fraction_of_real_images_that_are_farther():
    at = torch.tensor
    real = at([[0.0], [2.0], [3.0], [10.0]])
    assert following(at([[[1.0]]]), at([[3.0]]), real) == pytest.approx((1 + 0.5) / 4)  # distances 1, 1, 2 and 9
    assert coarse_pixels(NOISE[:, 0]).shape == (100, 3 * 64)


def test_held_out_real_images_are_strange_in_few_cases_and_typical():
    held_out = pictures(400, 5)
    assert strange(held_out, REAL) == pytest.approx(strange_real(REAL), abs=0.06)
    assert strange(held_out, REAL) < 0.12
    assert untypical(held_out, REAL) < 0.3


def test_gray_images_have_no_statistics_of_colour_and_one_colour_is_finite():
    assert statistics(pictures(5, 0, channels=1)).shape == (5, 4)
    assert np.isfinite(statistics(np.zeros((2, 3, 8, 8), np.uint8))).all()


def test_a_line_is_crossed_on_its_bad_side_alone():
    assert Judged(0.6, 0.6, "at least", "").passed
    assert not Judged(0.59, 0.6, "at least", "").passed
    assert Judged(0.5, 0.5, "at most", "").passed
    assert not Judged(0.51, 0.5, "at most", "").passed
    told = Verdict.of({"a": Judged(1.0, 0.5, "at most", "", decides=False)}, {"a": "beware"})
    assert (told.passed, told.warnings) == (True, ["beware"])
    assert gate.told(told).endswith("beware")
