"""The stages of a run as a plan: what each does, its FLOPs, its memory, and how long it takes on this machine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch

from clsp.diffusion.interpolation import steps_taken
from clsp.diffusion.unet import build_unet
from clsp.encoders.heads import feature_count
from clsp.engine.hardware import HardwareConfig, autocast_precision, device_of
from clsp.engine.pixels import Pixels, own_memory
from clsp.images.imageset import Images
from clsp.positives.cost import sampling_flops
from clsp.preflight import measure
from clsp.preflight.blank import blank_training
from clsp.preflight.given import as_drawing
from clsp.preflight.gpus import GPU
from clsp.preflight.measure import Step
from clsp.preflight.rates import Kind, named, rate
from clsp.preflight.steps import contrast, denoise, draw
from clsp.recipes.arms import Arm
from clsp.recipes.fit import needs_generator
from clsp.recipes.recipe import Recipe
from clsp.settings.values import plain
from clsp.training.checks import needs_bank
from clsp.training.config import PretrainConfig


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
    embeddings: float = 0.0
    """Bytes of the embeddings of all images."""


@dataclass(frozen=True)
class Plan:
    """What the stages are planned for."""

    recipe: Recipe
    images: Images
    gpu: GPU | None
    """The GPU that memory and hours are wanted for; None: this machine's device."""
    kept: bool = False
    """Whether rates that were measured before serve, instead of timing every step; for a GPU by name none is timed."""
    own_model: bool = True
    """Whether the run trains the diffusion model that draws the bank."""
    unet: Any = None
    """The U-Net of a diffusion model that is there, where it is known; None: the recipe's."""

    def bf16(self, precision: Literal["auto", "32", "bf16"]) -> bool:
        """Whether a stage of this precision runs in bf16 there."""
        if self.gpu is None:
            return bool(autocast_precision(precision, self.recipe.hardware) == "bf16-mixed")
        return precision == "bf16" or (precision == "auto" and self.gpu.bf16 is not None)

    @property
    def devices(self) -> int:
        """Processes that share a batch."""
        return self.recipe.hardware.devices * self.recipe.hardware.nodes

    def local_batch(self, batch: int) -> int:
        """Images of a batch that one device gets."""
        return -(-batch // self.devices)

    def anchors(self) -> int:
        """Anchors that get candidates."""
        total = len(self.images.train)
        return min(self.recipe.synthesize.anchors or total, total)

    def trained(self) -> int:
        """Images that the encoder is trained on."""
        total = len(self.images.train)
        return min(self.recipe.pretrain.images or (self.anchors() if self.draws() else total), total)

    def draws(self) -> bool:
        """Whether the run draws a bank."""
        return needs_generator(self.recipe, self.recipe.arms())

    def pixels(self, count: int) -> int:
        """Bytes of ``count`` images."""
        return count * self.images.channels * self.images.size**2

    def resident(self, count: int) -> int:
        """Bytes of ``count`` images that are copied to the device: all where they fit, else none."""
        memory = self.gpu.memory if self.gpu else own_memory(device_of(self.recipe.hardware))
        return self.pixels(count) if Pixels.fit(self.pixels(count), memory) else 0


def plan_stages(plan: Plan, arms: Sequence[Arm] | None = None) -> list[Stage]:
    """Plan the diffusion model and the bank, where they are made, and the encoders of ``arms``.

    Args:
        plan: what it is planned for.
        arms: what is trained; None: the encoder with the bank, and the controls where there are any.
    """
    arms = arms or plan.recipe.arms()
    drawing = needs_generator(plan.recipe, arms)
    model = [_diffusion(plan)] if drawing and plan.own_model else []
    return [*model, *([_bank(plan)] if drawing else []), *_encoders(plan, arms)]


def _shape(unet: Any) -> dict[str, Any]:
    """What tells a U-Net from others; names with a line before them are diffusers' notes."""
    return {name: value for name, value in unet.config.items() if not name.startswith("_")}


def _timed(
    plan: Plan, kind: Kind, about: Any, step: Step, flops: float, full: int, precision: Any
) -> tuple[float, int]:
    """Seconds of a step, and the images that it had."""
    if plan.kept and plan.gpu is not None:
        return 0.0, full  # its seconds follow from the FLOPs
    if not plan.kept:
        return measure.seconds(step, full, least=min(4, full) if kind == "encoder training" else 1)
    key, device = named([about, plan.bf16(precision)]), device_of(plan.recipe.hardware)
    return flops / rate(kind, key, step, flops, batch=full, device=device), full


def _here(step_on: Callable[[torch.device, bool], Step], precision: Any, hardware: HardwareConfig) -> Step:
    """The step as it would run on this machine."""
    return step_on(device_of(hardware), autocast_precision(precision, hardware) == "bf16-mixed")


def _own_unet(plan: Plan) -> Any:
    return build_unet(plan.recipe.diffusion, channels=plan.images.channels, size=plan.images.size)


def _diffusion(plan: Plan) -> Stage:
    config, images = plan.recipe.diffusion, plan.images
    local = plan.local_batch(config.batch_size)
    unet = _own_unet(plan)
    weights = sum(p.nbytes for p in unet.parameters())
    step = _here(lambda device, bf16: denoise(unet.to(device), bf16), config.precision, plan.recipe.hardware)
    counted = copy.deepcopy(unet)
    (cost,) = measure.costs(counted, [denoise(counted, plan.bf16(config.precision))], local)
    spent, batch = _timed(plan, "U-Net training", _shape(unet), step, cost.flops, local, config.precision)
    count = min(config.images or len(images.train), len(images.train))
    return Stage(
        name="diffusion model",
        what=f"{weights / 4e6:.1f} M weights, {config.steps} steps of {config.batch_size} images",
        flops=cost.flops * config.steps * plan.devices,
        memory=cost.peak + 3 * weights + plan.resident(count),  # Adam's two averages, and the weights' own
        weights=weights,
        checkpoint=4 * weights,
        seconds=config.steps * spent * local / batch,
        timed=(batch, local),
        bf16=plan.bf16(config.precision),
    )


def _bank(plan: Plan) -> Stage:
    config, images = plan.recipe.synthesize, plan.images
    k, anchors, steps = config.candidates, plan.anchors(), steps_taken(config.steps, config.strength)
    full = max(config.batch_size // k, 1) * k
    unet = as_drawing(plan.unet, images) if plan.unet is not None else _own_unet(plan).eval()
    step = _here(lambda dev, bf16: draw(unet.to(dev), config, bf16), config.precision, plan.recipe.hardware)
    flops = sampling_flops(unet, config, anchors)
    one = replace(config, strength=1.0, steps=1)
    whole = sampling_flops(unet, one, full // k)
    about = [_shape(unet), k, config.guidance_scale > 1, config.interpolation_weight]
    spent, batch = _timed(plan, "U-Net drawing", about, step, whole, full, config.precision)
    timed = sampling_flops(unet, replace(one, candidates=min(k, batch)), max(batch // k, 1))
    (cost,) = measure.costs(unet, [draw(unet, config, plan.bf16(config.precision))], full)
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


def _encoders(plan: Plan, arms: Sequence[Arm]) -> list[Stage]:
    """The encoders of the arms."""
    known: dict[tuple[bool, int], _Measured] = {}
    stages = []
    for arm in arms:
        config = plan.recipe.pretraining(arm)
        third = config.positive.source is not None and config.positive.placement == "third"
        kind = (third, config.batch_size)
        if kind not in known:  # a step of another source is as long
            known[kind] = _measured(plan, config)
        stages.append(_encoder(plan, arm, config, known[kind]))
    return stages


@dataclass(frozen=True)
class _Measured:
    """A step of a pretraining, and bytes around it."""

    seconds: float
    batch: int
    """Images of the step that was timed."""
    cost: measure.Cost
    encoder: int
    optimiser: int
    everything: int
    """What a checkpoint holds besides the optimiser."""
    features: int
    """Values of an image's features."""


def _measured(plan: Plan, config: PretrainConfig) -> _Measured:
    """Time a step on this machine, and count what it costs."""
    local, training = plan.local_batch(config.batch_size), blank_training(plan.images, plan.trained(), config)
    method = training.method
    trained = sum(p.nbytes for p in method.parameters() if p.requires_grad)
    sizes = {
        "encoder": sum(p.nbytes for p in method.encoder.parameters()),
        "optimiser": trained * (2 if config.optimizer == "adamw" else 1),
        "everything": sum(t.nbytes for t in method.state_dict().values()),
        "features": feature_count(method.encoder),
    }
    counted = blank_training(plan.images, plan.trained(), config)
    (cost,) = measure.costs(counted, [contrast(counted, torch.device("cpu"), plan.bf16(config.precision))], local)
    step = _here(partial(contrast, training), config.precision, plan.recipe.hardware)
    shape = (plan.images.channels, plan.images.size, len(plan.images.train))
    spent, batch = _timed(plan, "encoder training", [plain(config), shape], step, cost.flops, local, config.precision)
    return _Measured(seconds=spent, batch=batch, cost=cost, **sizes)


def _encoder(plan: Plan, arm: Arm, config: PretrainConfig, found: _Measured) -> Stage:
    """One arm's training."""
    recipe, images, count = plan.recipe, plan.images, plan.trained()
    local, steps = plan.local_batch(config.batch_size), max(count // config.batch_size, 1) * config.epochs
    candidates = plan.resident(count * recipe.synthesize.candidates) if needs_bank(config) else 0
    fitted = min(recipe.evaluate.train_images or len(images.train), len(images.train))
    tested = 0 if images.test is None else len(images.test)
    return Stage(
        name=f"encoder {arm.name}",
        what=f"{found.encoder / 4e6:.2f} M weights, {config.epochs} epochs, batch {config.batch_size}, "
        f"{config.optimizer} {config.lr:g}",
        flops=found.cost.flops * steps * plan.devices,
        memory=found.cost.peak + found.optimiser + plan.resident(count) + candidates,
        weights=found.encoder + 4 * found.features * (fitted + tested),
        checkpoint=found.everything + found.optimiser,
        seconds=steps * found.seconds * local / found.batch,
        timed=(found.batch, local),
        bf16=plan.bf16(config.precision),
        embeddings=4 * found.features * (len(images.train) + tested),
    )
