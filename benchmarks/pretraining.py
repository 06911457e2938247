"""A step of pretraining: against the bare arithmetic on ready tensors, and against lightly's SimCLR.

All sides train the same encoder (the fashion-mnist recipe's) on 32 x 32 colour images, with batches of 256 and two
views of the recipe's size, in bf16 where the machine has it, with SGD. The bare step is forward, backward and optimiser
on normalised tensors that are already there. lightly's side is its transform, head and loss under a plain loop with its
DataLoader and one worker a core.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import arguments, finish, floor_of, interleave
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import Tensor, nn

from clsp.encoders.backbone import feature_count, stem_for
from clsp.encoders.export import EncoderSpec
from clsp.engine.fit import Callback, Fit
from clsp.engine.flops import count_flops
from clsp.engine.hardware import HardwareConfig, autocast_precision
from clsp.engine.heap import keep_heap
from clsp.engine.pixels import Pixels
from clsp.positives.source import Material
from clsp.recipes.recipe import load_recipe
from clsp.training.callbacks import HealthCheck
from clsp.training.pretrain import build_method
from clsp.training.step import Pretraining, Seen

IMAGES, SIDE, STEPS, WARM = 4096, 32, 8, 3
CONFIG: Any = load_recipe("fashion-mnist").pretrain
BATCH, VIEW, OWN = CONFIG.batch_size, CONFIG.augment.size or SIDE, CONFIG.backbone
SPEC = EncoderSpec(name=OWN.name, args=OWN.args, stem=stem_for(OWN, SIDE), channels=3, size=SIDE)


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=np.uint8)


def training(pixels: np.ndarray) -> Pretraining:
    """SimCLR on ``pixels``, as `clsp pretrain` makes it."""
    torch.manual_seed(0)
    material = Material(Pixels(pixels), np.arange(len(pixels)), None, pixels, ())
    statistics = torch.full((3,), 0.5), torch.full((3,), 0.25)
    made = Pretraining(build_method(SPEC, CONFIG, seed=0), CONFIG, material, len(pixels), *statistics, seed=0)
    made.course.turn(0, WARM + STEPS)
    return made


BF16 = autocast_precision("auto", HardwareConfig()) == "bf16-mixed"


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=BF16)


class Clock(Callback[Seen]):
    """Seconds of a step, the first ones left out."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, training: Any, number: int) -> dict[str, float]:
        self.ends.append(time.perf_counter())
        return {}

    @property
    def seconds(self) -> float:
        return (self.ends[-1] - self.ends[WARM - 1]) / (len(self.ends) - WARM)


def ours(pixels: np.ndarray) -> float:
    """Seconds of a step of the whole system (`Pretraining.step` in its loop), with its logs."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        fit = Fit(
            folder=Path(folder),
            title="benchmark",
            precision="auto",
            hardware=HardwareConfig(),
            checkpoint_minutes=60.0,
            on_checkpoint=lambda: None,
            callbacks=(HealthCheck(), clock),
        )
        fit.run(training(pixels))
    return clock.seconds


class Bare:
    """Forward, backward and optimiser on ready tensors: a step's arithmetic and nothing else."""

    def __init__(self) -> None:
        made = training(images())
        made.to_device(torch.device("cpu"))
        self.method, self.views = made.method, made.views(0)
        self.optimizer, _ = made.optimizer()

    def loss(self) -> Tensor:
        with autocast():
            return torch.stack(list(self.method(self.views).terms.values())).sum()

    def step(self) -> None:
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def __call__(self) -> float:
        for number in range(WARM + STEPS):
            if number == WARM:
                begin = time.perf_counter()
            self.step()
        return (time.perf_counter() - begin) / STEPS


class Pictures(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """PIL images and lightly's two views of each."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in pixels]
        self.transform = SimCLRTransform(input_size=VIEW, gaussian_blur=0.0, cj_strength=0.5)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        first, second = self.transform(self.pictures[index])
        return first, second


def lightlys(pixels: np.ndarray, threads: int) -> float:
    """Seconds of a step of lightly's SimCLR, as its examples write it."""
    torch.manual_seed(0)
    backbone, head = SPEC.build().to(memory_format=torch.channels_last), CONFIG.projector
    network = nn.Sequential(backbone, SimCLRProjectionHead(feature_count(backbone), head.hidden, head.dim))
    criterion = NTXentLoss(temperature=CONFIG.simclr.temperature)
    optimizer = torch.optim.SGD(network.parameters(), lr=CONFIG.lr, momentum=0.9, weight_decay=CONFIG.weight_decay)
    loader = torch.utils.data.DataLoader(
        Pictures(pixels), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=threads
    )
    ends = []
    for first, second in loader:
        with autocast():
            first_z, second_z = network(torch.cat([first, second])).chunk(2)
            loss = criterion(first_z, second_z)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        ends.append(time.perf_counter())
        if len(ends) == WARM + STEPS:
            break
    return (ends[-1] - ends[WARM - 1]) / STEPS


def child(*, keep: bool) -> float:
    """Seconds of a bare step in a process of its own, with the C library's heap kept or as it is by default."""
    words = [sys.executable, __file__, "--bare", "kept" if keep else "default"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    if "--bare" in sys.argv:
        if sys.argv[-1] == "kept":
            keep_heap()
        print(Bare()())
        return
    options = arguments(__doc__)
    pixels, bare = images(), Bare()
    flops = count_flops(lambda: bare.loss().backward())
    against_bare = interleave(bare, lambda: ours(pixels), options.rounds)
    dtype = torch.bfloat16 if BF16 else torch.float32
    seconds = sorted(against_bare.theirs)[len(against_bare.theirs) // 2]
    against_lightly = interleave(lambda: lightlys(pixels, options.threads), lambda: ours(pixels), options.rounds)
    results = [
        against_bare.result(
            "a step against the bare step on ready tensors", round(1 / 1.15, 2), floor=floor_of(flops, seconds, dtype)
        ),
        against_lightly.result("a step against lightly's SimCLR", 1.0),
    ]
    heap = interleave(lambda: child(keep=False), lambda: child(keep=True), options.rounds)
    results.append(heap.result("a bare step with the heap kept, against the default", 1.0))
    finish(results, options.json)


if __name__ == "__main__":
    main()
