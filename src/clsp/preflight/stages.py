"""The stages of a run as a plan: what each does, its FLOPs, its memory, and how long it takes on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from clsp.comparison.arms import Arm
from clsp.diffusion.interpolation import interpolated_noise, steps_taken
from clsp.diffusion.unet import build_unet
from clsp.encoders.backbone import build_backbone, feature_count, stem_for, to_channels_last
from clsp.engine.hardware import HardwareConfig, autocast_precision, device_of
from clsp.engine.pixels import Pixels, own_memory
from clsp.images.imageset import Images
from clsp.methods.base import Method, Views
from clsp.methods.config import LABELLED
from clsp.methods.registry import build_method
from clsp.positives.config import PositivesName, SynthesizeConfig
from clsp.positives.cost import sampling_flops
from clsp.preflight import measure
from clsp.preflight.gpus import GPU
from clsp.preflight.measure import Step
from clsp.recipes.recipe import Recipe
from clsp.training.positive_term import positive_term
from clsp.training.views import crops_of, draw_local, draw_views


@dataclass(frozen=True)
class Stage:
    """One stage of a run."""

    name: str
    what: str
    flops: float
    """FLOPs of the whole stage, over all devices."""
    memory: float
    """Bytes on one device at the peak."""
    weights: float
    """Bytes of what is kept of it: the averaged U-Net; the encoder and its features; 0 for the bank."""
    checkpoint: float
    """Bytes of its checkpoint."""
    seconds: float
    """Seconds of the whole stage on this machine's devices."""
    timed: tuple[int, int]
    """Images of a step that were timed, and images that a step has."""
    bf16: bool
    """Whether it is planned in bf16."""


@dataclass(frozen=True)
class Plan:
    """What the stages are planned for."""

    recipe: Recipe
    images: Images
    gpu: GPU | None
    """The GPU that memory and hours are wanted for; None: this machine's device."""

    def bf16(self, precision: Literal["auto", "32", "bf16"]) -> bool:
        """Whether a stage of this precision runs in bf16 there."""
        if self.gpu is None:
            return bool(autocast_precision(precision, self.recipe.hardware) == "bf16-mixed")
        return precision == "bf16" or (precision == "auto" and self.gpu.bf16 is not None)

    @property
    def devices(self) -> int:
        """Processes that share a batch."""
        return self.recipe.hardware.devices * self.recipe.hardware.nodes

    def share(self, batch: int) -> int:
        """Images of a batch that one device gets."""
        return -(-batch // self.devices)

    def anchors(self) -> int:
        """Anchors that get candidates."""
        total = len(self.images.train)
        return min(self.recipe.synthesize.anchors or total, total)

    def trained(self) -> int:
        """Images that the encoder is trained on."""
        return min(self.recipe.pretrain.images or self.anchors(), len(self.images.train))

    def pixels(self, count: int) -> int:
        """Bytes of ``count`` images."""
        return count * self.images.channels * self.images.size**2

    def resident(self, count: int) -> int:
        """Bytes of ``count`` images that are copied to the device: all where they fit, else none."""
        memory = self.gpu.memory if self.gpu else own_memory(device_of(self.recipe.hardware))
        return self.pixels(count) if Pixels.fit(self.pixels(count), memory) else 0


def plan_stages(plan: Plan) -> list[Stage]:
    """Plan the diffusion model, the bank, and the encoders: with the bank, and the controls where there are any."""
    return [_diffusion(plan), _bank(plan), *_encoders(plan)]


def _here(step_on: Callable[[torch.device, bool], Step], precision: Any, hardware: HardwareConfig) -> Step:
    """The step as it would run on this machine."""
    return step_on(device_of(hardware), autocast_precision(precision, hardware) == "bf16-mixed")


def _diffusion(plan: Plan) -> Stage:
    config, images = plan.recipe.diffusion, plan.images
    share = plan.share(config.batch_size)
    unet = build_unet(config, channels=images.channels, size=images.size)
    weights = sum(p.nbytes for p in unet.parameters())
    step = _here(lambda device, bf16: _denoise(unet.to(device), bf16), config.precision, plan.recipe.hardware)
    spent, batch = measure.seconds(step, share, least=1)
    (cost,) = measure.costs(unet, [_denoise(unet, plan.bf16(config.precision))], share)
    count = min(config.images or len(images.train), len(images.train))
    return Stage(
        name="diffusion model",
        what=f"{weights / 4e6:.1f} M weights, {config.steps} steps of {config.batch_size} images",
        flops=cost.flops * config.steps * plan.devices,
        memory=cost.peak + 3 * weights + plan.resident(count),  # Adam's two averages, and the weights' own
        weights=weights,
        checkpoint=4 * weights,
        seconds=config.steps * spent * share / batch,
        timed=(batch, share),
        bf16=plan.bf16(config.precision),
    )


def _denoise(unet: Any, bf16: bool) -> Step:
    def step(batch: int) -> None:
        side, device = unet.config.sample_size, unet.device
        x = torch.randn(batch, unet.config.in_channels, side, side, device=device)
        t = torch.zeros(batch, dtype=torch.int64, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = unet(x, t, return_dict=False)[0].float().square().mean()
        _backward(loss)

    return step


def _backward(loss: Tensor) -> None:
    loss.backward()
    _wait(loss.device)


def _wait(device: torch.device) -> None:
    """Wait until the GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _bank(plan: Plan) -> Stage:
    config, images = plan.recipe.synthesize, plan.images
    k, anchors, steps = config.candidates, plan.anchors(), steps_taken(config.steps, config.strength)
    full = max(config.batch_size // k, 1) * k
    unet = build_unet(plan.recipe.diffusion, channels=images.channels, size=images.size).eval()
    step = _here(lambda dev, bf16: _draw(unet.to(dev), config, bf16), config.precision, plan.recipe.hardware)
    spent, batch = measure.seconds(step, full, least=1)
    flops = sampling_flops(unet, config, anchors)
    timed = sampling_flops(unet, replace(config, candidates=min(k, batch), strength=1.0, steps=1), max(batch // k, 1))
    (cost,) = measure.costs(unet, [_draw(unet, config, plan.bf16(config.precision))], full)
    return Stage(
        name="synthetic positives",
        what=f"{anchors} anchors x {k} candidates, {steps} steps",
        flops=flops,
        memory=cost.peak,
        weights=0.0,
        checkpoint=0.0,
        seconds=flops / timed * spent / plan.devices,
        timed=(batch, full),
        bf16=plan.bf16(config.precision),
    )


def _draw(unet: Any, config: SynthesizeConfig, bf16: bool) -> Step:
    """One step of the sampler on so many candidates: of one anchor, or of several with all theirs."""

    def step(batch: int) -> None:
        side, device, each = unet.config.sample_size, unet.device, min(config.candidates, batch)
        x = torch.randn(batch - batch % each, unet.config.in_channels, side, side, device=device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            interpolated_noise(unet, x, x[::each], 10, config.interpolation_weight, config.guidance_scale)
        _wait(device)

    return step


def _encoders(plan: Plan) -> list[Stage]:
    """The encoder with the bank; with controls also without, and with a third view, which costs no more."""
    config, hardware = plan.recipe.pretrain, plan.recipe.hardware
    share, method = plan.share(config.batch_size), _method(plan)
    arms = {source: _adds_a_view(plan.recipe, source) for source in plan.recipe.sources()}
    thirds = sorted(set(arms.values()))
    bf16 = plan.bf16(config.precision)
    sizes = _Sizes.of(plan, method)
    times = []
    for third in thirds:
        step = _here(partial(_contrast, plan, method, third), config.precision, hardware)
        times.append(measure.seconds(step, share, least=min(4, share)))
    costs = measure.costs(method, [_contrast(plan, method, t, torch.device("cpu"), bf16) for t in thirds], share)
    numbers = {source: thirds.index(third) for source, third in arms.items()}
    return [_encoder(plan, sizes, source, times[number], costs[number]) for source, number in numbers.items()]


def _adds_a_view(recipe: Recipe, source: PositivesName) -> bool:
    return source != "none" and recipe.pretraining(recipe.pretrain.method, source).positive_objective != "host"


@dataclass(frozen=True)
class _Sizes:
    """Bytes around an encoder's training."""

    encoder: int
    optimiser: int
    everything: int
    """What a checkpoint holds besides the optimiser."""
    pixels: int
    bank: int
    """Pixels and candidates that are copied to the device."""
    features: int

    @staticmethod
    def of(plan: Plan, method: Method) -> _Sizes:
        recipe, images, count = plan.recipe, plan.images, plan.trained()
        trained = sum(p.nbytes for p in method.parameters() if p.requires_grad)
        fitted = min(recipe.evaluate.train_images or len(images.train), len(images.train))
        rated = fitted + (0 if images.test is None else len(images.test))
        return _Sizes(
            encoder=sum(p.nbytes for p in method.encoder.parameters()),
            optimiser=trained * (2 if recipe.pretrain.optimizer == "adamw" else 1),
            everything=sum(t.nbytes for t in method.state_dict().values()),
            pixels=plan.resident(count),
            bank=plan.resident(count * recipe.synthesize.candidates),
            features=4 * feature_count(method.encoder) * rated,
        )


def _encoder(plan: Plan, sizes: _Sizes, source: PositivesName, timed: tuple[float, int], cost: measure.Cost) -> Stage:
    """One arm's training with the arm's own settings, by the time and cost of a step with the method's."""
    method = plan.recipe.pretrain.method
    config, count, (spent, batch) = plan.recipe.pretraining(method, source), plan.trained(), timed
    share, steps = plan.share(config.batch_size), max(count // config.batch_size, 1) * config.epochs
    larger = config.batch_size / plan.recipe.pretrain.batch_size
    return Stage(
        name=f"encoder {Arm(method, source).name}",
        what=f"{sizes.encoder / 4e6:.2f} M weights, {config.epochs} epochs, batch {config.batch_size}, "
        f"{config.optimizer} {config.lr:g}",
        flops=cost.flops * larger * steps * plan.devices,
        memory=cost.peak * larger + sizes.optimiser + sizes.pixels + (sizes.bank if source == "bank" else 0),
        weights=sizes.encoder + sizes.features,
        checkpoint=sizes.everything + sizes.optimiser,
        seconds=steps * spent * share / batch,
        timed=(batch, share),
        bf16=plan.bf16(config.precision),
    )


def _method(plan: Plan) -> Method:
    config, images = plan.recipe.pretrain, plan.images
    encoder = build_backbone(
        config.backbone.name,
        config.backbone.args,
        channels=images.channels,
        size=images.size,
        stem=stem_for(config.backbone, images.size),
    )
    if config.backbone.channels_last:
        to_channels_last(encoder)
    return build_method(encoder, config, seed=0)


def _contrast(plan: Plan, method: Method, third: bool, device: torch.device, bf16: bool) -> Step:
    """One step of the pretraining, augmentation included, with a third view or without."""
    config, images, views = plan.recipe.pretrain, plan.images, 3 if third else 2
    labelled = config.method in LABELLED and images.train.labels is not None
    method.to(device)

    def step(batch: int) -> None:
        ids = torch.arange(batch, device=device)
        pixels = torch.zeros(batch, images.channels, images.size, images.size, dtype=torch.uint8, device=device)
        drawn = draw_views([pixels] * views, config, seed=0, step=0, ids=ids)
        local = draw_local(pixels, config, seed=0, step=0, ids=ids)
        crops = crops_of(views, config, seed=0, step=0, ids=ids)
        labels = ids % 10 if labelled else None
        method.before_step(0.5)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            positive = drawn[2] if third else None
            losses = method(Views(drawn[0], drawn[1], positive, ids, 0.5, labels, crops=crops, local=local))
            loss = torch.stack(list(losses.terms.values())).sum()
            loss = loss if losses.pull is None else loss + positive_term(losses.pull, config, 0.5)
        _backward(loss)
        method.after_step()

    return step
