"""Too little memory: known on every device, answered by smaller batches, and told with what would fit."""

from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest
import torch
from diffusers import DDPMPipeline

from clsp import distributed
from clsp import memory as limits
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.diffusion.training import train_diffusion
from clsp.diffusion.unet import build_scheduler, build_unet
from clsp.encoders.config import BackboneConfig
from clsp.encoders.features import encode_images
from clsp.engine import memory
from clsp.engine.hardware import HardwareConfig
from clsp.engine.memory import fits, in_batches, is_too_little_memory, train_within
from clsp.errors import UserError
from clsp.positives.bank import PositiveBank
from clsp.positives.config import SynthesizeConfig
from clsp.positives.synthesize import synthesize
from clsp.positives.verdict import Verdict
from clsp.training.pretrain import pretrain
from little_memory import with_memory
from tiny import Tiny

CPU = HardwareConfig(accelerator="cpu")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")


def scarce(limit, sizes):
    """Work that has memory for ``limit`` rows."""

    def work(first, last):
        sizes.append(last - first)
        if last - first > limit:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you")
        return list(range(first, last))

    return work


@linux
@pytest.mark.parametrize(
    "take", [lambda: torch.empty(10**10), lambda: np.empty(10**10), lambda: bytearray(10**10), lambda: [0] * 10**10]
)
def test_a_real_lack_of_memory_is_known_as_one(take):
    def work():
        try:
            take()
        except Exception as error:
            return is_too_little_memory(error), fits(take)

    assert with_memory(100, work) == (True, False)


def test_other_errors_are_none():
    assert is_too_little_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_too_little_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_too_little_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError, match="shapes"):
        fits(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3))


@pytest.mark.parametrize(("limit", "tried"), [(9, [9]), (3, [9, 5, 3, 3, 3]), (1, [9, 5, 3, 2, *[1] * 9])])
def test_batches_get_smaller_until_they_fit_and_stay_so(limit, tried):
    sizes = []
    found = in_batches(scarce(limit, sizes), 9, 20)
    assert sizes == tried
    assert [row for part in found for row in part] == list(range(9))


def test_memory_for_nothing_is_told():
    with pytest.raises(UserError, match=r"the memory \(.* GB\) does not suffice for one image at once"):
        in_batches(scarce(0, []), 3, 2)


@linux
def test_a_bank_is_drawn_in_smaller_batches_with_the_same_images(make_images, tiny_diffusion, tmp_path):
    unet = build_unet(tiny_diffusion(), channels=3, size=64).eval()
    DDPMPipeline(unet=unet, scheduler=build_scheduler(tiny_diffusion())).save_pretrained(tmp_path / "model")
    images = make_images(128, size=64)
    config = SynthesizeConfig(candidates=2, steps=1, eta=1.0, clip_sample=True, batch_size=256, precision="32")

    def draw(name):
        sizes, whole = [], SyntheticPositivePipeline.draw
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                SyntheticPositivePipeline,
                "draw",
                lambda self, anchors, *a, **how: (sizes.append(len(anchors)), whole(self, anchors, *a, **how))[1],
            )
            patch.setattr("clsp.positives.synthesize.measure", lambda *_, **__: {})
            patch.setattr(
                "clsp.positives.synthesize.judge_bank", lambda *_, **__: Verdict(True, {})
            )  # it draws as well
            synthesize(images, tmp_path / "model", config, CPU, seed=0, folder=tmp_path / name)
        return sizes

    assert draw("whole") == [128]  # first: what is loaded late is then there
    sizes = with_memory(150, lambda: draw("little"))
    assert sizes[0] == 128
    assert 1 <= sizes[-1] < 128
    assert sum(sizes) > 128
    banks = [PositiveBank.open(tmp_path / name, verify=True).array(np.arange(128)) for name in ("whole", "little")]
    assert np.abs(np.subtract(*banks, dtype=int)).max() <= 1  # the last bits of sums


@linux
def test_a_generator_that_does_not_fit_ends_with_the_batch_that_does(make_images, tiny_diffusion, tmp_path):
    images = make_images(128, None, size=64)
    config = tiny_diffusion(widths=[8, 16], batch_size=128)

    def train():
        with pytest.raises(UserError) as raised:
            train_diffusion(images, config, CPU, seed=0, folder=tmp_path / "model")
        return str(raised.value)

    train_diffusion(images, tiny_diffusion(steps=1), CPU, seed=0, folder=tmp_path / "warm")
    text = with_memory(300, train)
    assert text.startswith("diffusion model: the memory (")
    fit = int(text.partition("--diffusion.batch_size ")[2].split()[0])
    assert 2 <= fit < 128
    assert f"does not suffice for 128 images a step, but for about {fit}: choose" in text
    assert "\n" not in text
    smaller = tiny_diffusion(widths=[8, 16], batch_size=fit, steps=1)
    with_memory(300, lambda: train_diffusion(images, smaller, CPU, seed=0, folder=tmp_path / "fits").finished)


@linux
def test_an_encoder_that_does_not_fit_ends_with_the_batch_that_does(make_images, tiny_pretrain, tmp_path):
    images = make_images(128, None, size=64)
    backbone = BackboneConfig(args={"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]})
    config = tiny_pretrain(backbone=backbone, batch_size=128)

    def train():
        with pytest.raises(UserError) as raised:
            pretrain(images, config, CPU, seed=0, folder=tmp_path / "enc")
        return str(raised.value)

    text = with_memory(300, train)
    assert text.startswith("encoder simclr: the memory (")
    assert 2 <= int(text.partition("--pretrain.batch_size ")[2].split()[0]) < 128


@linux
def test_features_are_computed_in_smaller_batches():
    encoder, images = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), Tiny()), np.zeros((256, 1, 64, 64), np.uint8)
    mean, std = torch.zeros(1), torch.ones(1)
    found = with_memory(12, lambda: encode_images(encoder, images, mean, std, batch_size=256).shape)
    assert tuple(found) == (256, 5)


def test_several_processes_and_no_batch_at_all_are_told_too(monkeypatch):
    def never():
        raise MemoryError

    network = torch.nn.Linear(100, 100)

    def told(batch, free):
        monkeypatch.setattr(memory, "free_memory", lambda: free)
        with pytest.raises(UserError) as raised:
            part = torch.nn.Linear(100, 100)
            step = lambda count: part(torch.zeros(count, 100)).sum().backward()  # noqa: E731
            train_within(never, part, step, batch, title="encoder", setting="pretrain.batch_size")
        return str(raised.value)

    weights = 4 * 3 * sum(p.numel() for p in network.parameters()) + 4 * sum(p.numel() for p in network.parameters())
    assert "images a step, nor for 2, which take" in told(1024, weights / 2)
    enough = (weights + 100 * 100 * 4 * 3) / 0.8  # some hundred rows of 100 values
    one = int(told(1024, enough).partition("--pretrain.batch_size ")[2].split()[0])
    assert 32 <= one <= 256
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    assert f"--pretrain.batch_size {2 * one} with a lower --pretrain.lr" in told(1024, enough)
    assert "for 2 images a step; choose a smaller --images.size" in told(2, enough)


def test_the_smallest_limit_counts(tmp_path, monkeypatch):
    whole = limits.machine_memory()
    assert whole > 1e8
    for content, expected in (("max\n", whole), ("123456\n", 123456.0), ("x", whole)):
        (tmp_path / "limit").write_text(content)
        monkeypatch.setattr(limits, "_GROUPS", (str(tmp_path / "limit"), str(tmp_path / "none")))
        assert limits.machine_memory() == min(expected, psutil.virtual_memory().total, limits._allowed())
