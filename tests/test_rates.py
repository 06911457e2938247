"""Rates of steps: FLOP/s by the processor's time, kept in the cache for what decides them."""

from __future__ import annotations

import time

import pytest
import torch

from clsp import files
from clsp.images.cache import cache_folder
from clsp.preflight import measure, rates
from clsp.preflight.rates import rate


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLSP_CACHE", str(tmp_path))


class Products:
    """A step of some matrix products an image, which counts how often it is taken."""

    def __init__(self):
        self.matrix, self.taken = torch.randn(160, 160), 0

    flops = 2.0 * 160**3 * 20

    def __call__(self, images):
        self.taken += 1
        for _ in range(20 * images):
            self.matrix @ self.matrix


def test_a_rate_is_measured_once_for_what_decides_it():
    step = Products()
    first = rate("U-Net training", "abc", step, 8 * step.flops, batch=8)
    taken = step.taken
    assert rate("U-Net training", "abc", step, 8 * step.flops, batch=8) == first
    assert step.taken == taken > 0
    others = [("U-Net drawing", "abc", 8), ("U-Net training", "def", 8), ("U-Net training", "abc", 4)]
    for number, (kind, key, batch) in enumerate(others, 1):
        rate(kind, key, step, batch * step.flops, batch=batch)
        assert len(list((cache_folder() / "rates").iterdir())) == 1 + number
    torch.set_num_threads(2)
    try:
        path = rates._asked("U-Net training", "abc", 8, torch.device("cpu"))
    finally:
        torch.set_num_threads(1)
    assert path != rates._asked("U-Net training", "abc", 8, torch.device("cpu"))


def test_a_rate_is_flops_over_seconds_of_the_part_that_was_timed(monkeypatch):
    monkeypatch.setattr(rates, "seconds", lambda step, batch, least: (0.5, 16))
    assert rate("encoder training", "abc", lambda images: None, 64e9, batch=64) == pytest.approx(16e9 / 0.5)


def test_a_damaged_rate_is_measured_again():
    step = Products()
    rate("U-Net training", "abc", step, step.flops, batch=1)
    (path,) = (cache_folder() / "rates").iterdir()
    for damage in ("{", '{"flops_per_second": -1}'):
        path.write_text(damage)
        assert rate("U-Net training", "abc", step, step.flops, batch=1) > 0
        assert files.read_json(path)["flops_per_second"] > 0


def test_a_cache_that_cannot_be_written_costs_time_alone(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLSP_CACHE", str(tmp_path / "file" / "below"))
    step = Products()
    assert rate("U-Net training", "abc", step, step.flops, batch=1) > 0


def test_the_time_of_one_thread_is_the_processors(monkeypatch):
    """Pauses, as other work makes them, are no part of it, whatever the load of the machine is."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    step = Products()

    def paused(images):
        step(images)
        time.sleep(0.3)

    assert measure.seconds(paused, 1, least=1)[0] < 0.2
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert measure.seconds(paused, 1, least=1)[0] >= 0.3
