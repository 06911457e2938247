"""``clsp check``: what would run, what is wrong, and how long it takes here, before any of it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from clsp import console

if TYPE_CHECKING:
    from clsp.workflow import Prepared


def preflight(prepared: Prepared) -> str:
    """Build every network, time a few steps of each stage, and lay out the plan as plain text.

    Raises:
        UserError: a setting does not fit the data; what a run would say hours later is said now.
    """
    from clsp.recipes.limits import check_fit
    from clsp.recipes.recipe import recipe_names

    recipe, images = prepared.recipe, prepared.images
    check_fit(recipe, images, own_model=True)
    stages = [("diffusion model", _diffusion(prepared)), ("synthetic positives", _bank(prepared))]
    arms = ("bank", "none", "view") if recipe.controls else ("bank",)
    stages += [(f"encoder {recipe.pretrain.method}, positives: {arm}", _encoder(prepared, arm)) for arm in arms]
    lines = [f"recipe {prepared.name}" + ("" if prepared.name in recipe_names() else " (a file)")]
    lines += [
        f"images: {len(images.train)} train, {images.channels} x {images.size} x {images.size}; "
        f"{len(images.excluded)} files left out"
    ]
    lines += [f"  {name:<42}{text:<64}about {console.duration(seconds)}" for name, (text, seconds) in stages]
    lines += [f"  {'together, without the evaluation':<106}about {console.duration(sum(s for _, (_, s) in stages))}"]
    if recipe.about.expected:
        lines.append(f"expected: {recipe.about.expected}")
    return "\n".join(lines)


def _timed(step: Callable[[], None], repeats: int = 3) -> float:
    """Seconds of the quickest of some steps, after two that warm up (libraries choose their kernels in the first)."""
    step()
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def _diffusion(prepared: Prepared) -> tuple[str, float]:
    import torch

    from clsp.diffusion.unet import build_unet
    from clsp.engine.hardware import autocast_precision, device_of

    config, images = prepared.recipe.diffusion, prepared.images
    device = device_of(prepared.recipe.hardware)
    unet = build_unet(config, channels=images.channels, size=images.size).to(device)
    side = unet.config.sample_size
    x = torch.randn(config.batch_size, images.channels, side, side, device=device)
    t = torch.zeros(len(x), dtype=torch.int64, device=device)
    bf16 = autocast_precision(config.precision, prepared.recipe.hardware) == "bf16-mixed"

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = unet(x, t, return_dict=False)[0].float().square().mean()
        loss.backward()
        float(loss.detach())

    parameters = sum(p.numel() for p in unet.parameters()) / 1e6
    text = f"{parameters:.1f} M parameters, {config.steps} steps of {config.batch_size} images"
    return text, config.steps * _timed(step)


def _bank(prepared: Prepared) -> tuple[str, float]:
    import torch

    from clsp.diffusion.interpolation import interpolated_noise
    from clsp.diffusion.unet import build_unet
    from clsp.engine.hardware import autocast_precision, device_of

    config, images = prepared.recipe.synthesize, prepared.images
    device = device_of(prepared.recipe.hardware)
    unet = build_unet(prepared.recipe.diffusion, channels=images.channels, size=images.size).to(device).eval()
    side, k = unet.config.sample_size, config.candidates
    some = max(min(config.batch_size, 256) // k, 1)
    x = torch.randn(some * k, images.channels, side, side, device=device)
    bf16 = autocast_precision(config.precision, prepared.recipe.hardware) == "bf16-mixed"

    def step() -> None:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            float(interpolated_noise(unet, x, x[::k], 10, config.interpolation_weight).sum())

    anchors = min(config.anchors or len(images.train), len(images.train))
    size = anchors * k * images.channels * images.size**2 / 1e9
    text = f"{anchors} anchors x {k} candidates, {config.steps} steps, {size:.2f} GB"
    return text, max(round(config.steps * config.strength), 1) * anchors / some * _timed(step)


def _encoder(prepared: Prepared, positives: str) -> tuple[str, float]:
    import numpy as np
    import torch

    from clsp.encoders.backbone import build_backbone, stem_for
    from clsp.engine.hardware import autocast_precision, device_of
    from clsp.engine.pixels import Pixels
    from clsp.images.imageset import subset
    from clsp.methods.registry import build_method
    from clsp.objectives.alignment import alignment
    from clsp.positives.sources import RealView
    from clsp.training.module import Pretraining, TrainingData

    config, images = prepared.recipe.pretrain, prepared.images
    encoder = build_backbone(
        config.backbone.name,
        config.backbone.args,
        channels=images.channels,
        size=images.size,
        stem=stem_for(config.backbone, images.size),
    )
    if config.backbone.channels_last:
        encoder.to(memory_format=torch.channels_last)
    parameters = sum(p.numel() for p in encoder.parameters()) / 1e6
    ids = subset(len(images.train), config.images, seed=prepared.recipe.seed)
    ones = torch.ones(images.channels)
    data = TrainingData(
        pixels=Pixels(images.train.images, ids),
        ids=np.asarray(ids),
        mean=ones * 0.5,
        std=ones * 0.5,
        anchors=len(ids),
        positives="none",
        images=images.train.images,
    )
    method = build_method(encoder, config, seed=0)
    module = Pretraining(method, data, config, seed=0, knn=None).to(device := device_of(prepared.recipe.hardware))
    module._ids = module._ids.to(device)
    module._source = None if positives == "none" else RealView()  # a candidate costs what a view costs
    bf16 = autocast_precision(config.precision, prepared.recipe.hardware) == "bf16-mixed"

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            losses = method(module.views_of(0))
            loss = torch.stack(list(losses.terms.values())).sum()
            loss = loss if losses.pull is None else loss + alignment(*losses.pull)
        loss.backward()
        float(loss.detach())

    text = f"{parameters:.2f} M parameters, {config.epochs} epochs of {len(ids)} anchors"
    return text, module.total_steps * _timed(step)
