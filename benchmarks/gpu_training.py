"""Training on a GPU: a step of the diffusion model and of pretraining, as fractions of the measured peak.

The peak is a large matrix product in the same precision. Pretraining is timed as `clsp pretrain` runs it, against the
bare step (forward, backward, optimiser on ready tensors), and for ResNet-18 against lightly's SimCLR in a plain loop on
the device, its two views made by torchvision's transforms there.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_harness import Options, Work, options_of, seconds, share
from harness import Result, finish, interleave, settle
from torch import Tensor, nn

from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.training import DiffusionTraining
from clsp.encoders.backbone import feature_count, stem_for, to_channels_last
from clsp.encoders.config import BackboneConfig
from clsp.encoders.export import EncoderSpec
from clsp.engine.fit import Callback, Fit, Training
from clsp.engine.flops import count_flops
from clsp.engine.hardware import HardwareConfig
from clsp.engine.pixels import Pixels
from clsp.positives.source import Material
from clsp.training.config import PretrainConfig
from clsp.training.pretrain import build_method
from clsp.training.step import Pretraining

WARM, STEPS = 5, 20


@dataclass(frozen=True)
class Net:
    """An encoder, its images and its batch."""

    name: str
    backbone: BackboneConfig
    size: int
    batch: int


def nets(tiny: bool) -> list[Net]:
    if tiny:
        return [Net("tiny", BackboneConfig(args={"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 16]}), 16, 16)]
    return [
        Net("ResNet-18, 32 px", BackboneConfig(), 32, 1024),
        Net("ResNet-50, 224 px", BackboneConfig(name="resnet50"), 224, 256),
        Net("ViT-S, 224 px", BackboneConfig(name="vit_small_patch16_224"), 224, 256),
    ]


class Clock(Callback[Any]):
    """When each step ended, the device's work included at the first and the last one that count."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last, self.ends = first, last, list[float]()

    def on_step_end(self, training: Any, number: int) -> dict[str, float]:
        if number in (self.first, self.last):
            settle()
            self.ends.append(time.perf_counter())
        return {}

    @property
    def seconds(self) -> float:
        """Of a step."""
        return (self.ends[1] - self.ends[0]) / (self.last - self.first)


def in_the_loop(training: Training[Any], options: Options) -> float:
    """Seconds of a step of ``training`` in clsp's loop, with its log and its questions."""
    clock = Clock(WARM, WARM + STEPS)
    training.course.turn(0, WARM + STEPS)
    with tempfile.TemporaryDirectory() as folder:
        Fit(
            folder=Path(folder),
            title="benchmark",
            precision="auto",
            hardware=HardwareConfig(accelerator="gpu" if options.device.type == "cuda" else "cpu"),
            checkpoint_minutes=60.0,
            on_checkpoint=lambda: None,
            callbacks=(clock,),
        ).run(training)
    return clock.seconds


def pretraining(net: Net, config: PretrainConfig) -> Pretraining:
    """SimCLR on random images, as `clsp pretrain` makes it."""
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (4 * net.batch, 3, net.size, net.size), dtype=np.uint8)
    own = config.backbone
    spec = EncoderSpec(name=own.name, args=own.args, stem=stem_for(own, net.size), channels=3, size=net.size)
    material = Material(Pixels(pixels), np.arange(len(pixels)), None, pixels, ())
    statistics = torch.full((3,), 0.5), torch.full((3,), 0.25)
    return Pretraining(build_method(spec, config, seed=0), config, material, len(pixels), *statistics, seed=0)


class Bare:
    """Forward, backward and optimiser on ready tensors: a step's arithmetic and nothing else."""

    def __init__(self, made: Pretraining, options: Options) -> None:
        made.to(options.device)
        made.to_device(options.device)
        with torch.no_grad():
            self.views = made.views(0)
        self.method, self.options = made.method, options
        self.optimizer, _ = made.optimizer()

    def loss(self) -> Tensor:
        with self.options.autocast():
            return torch.stack(list(self.method(self.views).terms.values())).sum()

    def __call__(self) -> None:
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def _backward(loss: Callable[[], Tensor]) -> None:
    loss().backward()


def encoders(options: Options, peak: float) -> list[Result]:
    """Each encoder against its bare step and the peak."""
    results, every = list[Result](), nets(options.tiny)
    for net in every:
        config = PretrainConfig(backbone=net.backbone, batch_size=net.batch, epochs=100, warmup_epochs=0, knn_every=0)
        bare = Bare(pretraining(net, config), options)
        flops = count_flops(partial(_backward, bare.loss))
        step = partial(_in_the_loop, net, config, options)
        rounds = interleave(lambda bare=bare: seconds(bare), step, options.rounds)  # type: ignore[misc]
        about = {"images a second": round(net.batch / min(rounds.ours))}
        name = f"{net.name}: pretraining, fraction of the peak"
        results += [
            share(name, 0.35, flops, rounds.ours, peak, quality=about),
            rounds.result(f"{net.name}: a step against the bare one", round(1 / 1.05, 3)),
        ]
        if net is every[0]:
            lightly = interleave(partial(seconds, lightlys(net, config, options)), step, options.rounds)
            results.append(lightly.result(f"{net.name}: a step against lightly's", 1.0))
        del bare
        torch.cuda.empty_cache()
    return results


def _in_the_loop(net: Net, config: PretrainConfig, options: Options) -> float:
    return in_the_loop(pretraining(net, config), options)


def lightlys(net: Net, config: PretrainConfig, options: Options) -> Work:
    """A step of lightly's head and loss on the device; a view's parameters are drawn once for the whole batch."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from torchvision.transforms import v2

    own = config.backbone
    spec = EncoderSpec(name=own.name, args=own.args, stem=stem_for(own, net.size), channels=3, size=net.size)
    backbone = spec.build()
    head = SimCLRProjectionHead(feature_count(backbone), 2048, 128)
    network = to_channels_last(nn.Sequential(backbone, head).to(options.device))
    criterion = NTXentLoss(temperature=0.2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    images = torch.randint(0, 256, (net.batch, 3, net.size, net.size), dtype=torch.uint8, device=options.device)
    view = v2.Compose(
        [
            v2.RandomResizedCrop(net.size, scale=(0.2, 1.0), antialias=False),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4, 0.2, 0.1),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )

    def step() -> None:
        with options.autocast():
            first, second = network(torch.cat([view(images), view(images)])).chunk(2)
            loss = criterion(first, second)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def diffusion(options: Options, peak: float) -> list[Result]:
    """The diffusion model's step: a light U-Net and the paper's."""
    light = DiffusionConfig(widths=[32, 64, 128], blocks=2, attention=[2], batch_size=1024, steps=1000)
    paper = DiffusionConfig(batch_size=512, steps=1000)
    small = DiffusionConfig(widths=[8, 16], blocks=1, attention=[], norm_groups=4, batch_size=8, steps=100)
    wanted = [("tiny", small, 8, 1)] if options.tiny else [("2.5 M", light, 28, 1), ("35 M", paper, 32, 3)]
    results = []
    for name, config, size, channels in wanted:
        pixels = np.random.default_rng(0).integers(0, 256, (2048, channels, size, size), dtype=np.uint8)

        def made(config: DiffusionConfig = config, pixels: np.ndarray = pixels) -> DiffusionTraining:
            torch.manual_seed(0)
            return DiffusionTraining(config, Pixels(pixels), seed=0)

        one = made().to(options.device)
        one.to_device(options.device)
        with options.autocast():
            flops = count_flops(partial(_backward, partial(one, 0)))
        taken = [in_the_loop(made(), options) for _ in range(options.rounds)]
        about = {"images a second": round(config.batch_size / min(taken))}
        results.append(share(f"{name}: diffusion, fraction of the peak", 0.4, flops, taken, peak, quality=about))
    return results


def main() -> None:
    options = options_of(__doc__)
    peak, parts = options.peak(), {"diffusion": diffusion, "pretraining": encoders}
    for name in [options.what] if options.what else parts:
        finish(parts[name](options, peak), options.json, name)


if __name__ == "__main__":
    main()
