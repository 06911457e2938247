"""The stage that makes the bank: shard by shard, each written whole or not at all."""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel
from torch import Tensor

from clsp import console, distributed, faults, files
from clsp._version import __version__
from clsp.diffusion.pipeline import SyntheticPositiveOutput, SyntheticPositivePipeline, check_sampling
from clsp.diffusion.unet import Grid, unet_hash
from clsp.engine.hardware import HardwareConfig, autocast_precision, device_of
from clsp.engine.heap import release_heap
from clsp.engine.launch import launch
from clsp.engine.memory import Batches
from clsp.engine.stage import Stage, require_there, stage
from clsp.engine.stop import Stop, leave, stopping
from clsp.errors import UserError
from clsp.images.imageset import Images, subset
from clsp.images.sheet import save_sheet
from clsp.positives.bank import FORMAT, PositiveBank, Shard
from clsp.positives.config import SynthesizeConfig
from clsp.positives.cost import sampling_flops, training_cost
from clsp.positives.gate import judge_bank
from clsp.positives.measures import measure
from clsp.positives.shards import (
    Part,
    bytes_to_replace,
    missing_parts,
    parts_of,
    remove_others,
    saturation,
    write_shard,
    written,
)
from clsp.positives.starts import Starts, named, other_anchors

MAKES = ("manifest.json", "ids.npy", "sheet.png", "shard-*")
"""What the stage makes."""

_SHEET_ANCHORS = 16


@dataclass
class _Plan:
    """What every shard needs."""

    pipeline: SyntheticPositivePipeline
    diffusion: str | Path
    images: Images
    anchors: np.ndarray
    """Dataset indices of all anchors, sorted, int64 [N]."""
    config: SynthesizeConfig
    seed: int
    autocast: torch.autocast
    at_once: Batches
    """Anchors drawn at once."""
    made: str
    """The fingerprint of what the candidates are made from."""
    starts: Starts | None = None
    """What candidates start from; None: what the settings say."""

    def parts(self) -> list[Part]:
        """The shards that the bank consists of."""
        return parts_of(len(self.anchors), self.config.shard_anchors)


def synthesize(
    images: Images,
    diffusion: str | Path,
    config: SynthesizeConfig,
    hardware: HardwareConfig,
    *,
    seed: int,
    folder: Path,
    starts: Starts | None = None,
) -> PositiveBank:
    """Draw k candidates for every anchor of the train part into ``folder`` and measure them.

    A finished bank is opened; an interrupted one continues with the shards that are missing. Under a launcher each
    process makes its own part of the shards.

    Args:
        images: the data; its train part holds the anchors.
        diffusion: the folder of the diffusion stage, or any diffusers folder or hub id.
        config: the sampler's settings.
        hardware: the device.
        seed: names the anchors' subset and all noise.
        folder: where the bank goes.
        starts: chooses the images that candidates start from, with a ``config.strength`` below 1, see `Starts`; None:
            what ``config.start`` says.

    Raises:
        UserError: the model does not fit the images, the settings are out of range, or the folder holds another bank.
    """
    launch(hardware)
    how: dict[str, Any] = {"sampler": config.sampler, "clip_sample": config.clip_sample}
    pipeline = SyntheticPositivePipeline.from_pretrained(diffusion, **how)
    check_sampling(config.sampling(), pipeline.scheduler, pipeline.max_strength)
    _require_channels(pipeline.unet, images, diffusion)
    anchors = subset(len(images.train), config.anchors, seed=seed)
    told = {} if pipeline.condition is None else {"condition": pipeline.condition.digest}
    made = {"unet": unet_hash(pipeline.unet), **told, **named(starts, anchors, config)}
    about: dict[str, Any] = {"seed": seed, "data": images.fingerprint, "made": made, "makes": MAKES}
    with stage("synthetic positives", folder, config, **about) as current:
        if not current.finished:
            device = device_of(hardware)
            bf16 = autocast_precision(config.precision, hardware) == "bf16-mixed"
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
            _require_others(config, len(anchors))
            at_once = Batches(max(config.batch_size // config.candidates, 1), _alone(config))
            key, model = files.fingerprint([current.settings, current.inputs]), pipeline.to(device)
            plan = _Plan(model, diffusion, images, anchors, config, seed, autocast, at_once, key, starts)
            # Interpolation runs the U-Net's parts by themselves, so these are what can be compiled.
            unet = pipeline.unet
            hardware.compile_parts((*unet.down_blocks, unet.mid_block, *unet.up_blocks))
            _require_room(plan, folder)
            shards = _make_shards(plan, folder, current)
            release_heap()  # what drawing took: the bank is to be mapped and measured
            if distributed.rank() == 0:
                current.facts = _finish(plan, folder, shards, current)
                current.hashes = {shard.file: shard.sha256 for shard in shards}
    return PositiveBank.open(folder)


def _require_channels(unet: UNet2DModel, images: Images, diffusion: str | Path) -> None:
    """Refuse a U-Net for images of other channels.

    Raises:
        UserError: says how many it draws.
    """
    try:
        Grid.of(unet, images.channels)
    except UserError as error:
        inputs = int(unet.config.in_channels)
        folds = [n for n in range(1, 17) if inputs % n == 0 and math.isqrt(inputs // n) ** 2 == inputs // n]
        fix = " or ".join(map(str, folds))
        raise UserError(
            f"--diffusion {diffusion}: {error} as {images.source} has; set --images.channels {fix}"
        ) from error


def _finish(plan: _Plan, folder: Path, shards: list[Shard], current: Stage) -> dict[str, Any]:
    """Measure and judge the bank, draw its sheet, and write the manifest, which makes it a bank."""
    manifest = _manifest(plan, shards, current)
    arrays = [files.read_array(folder / shard.file, mapped=True) for shard in shards]
    bank = PositiveBank(folder, manifest, plan.anchors, arrays)
    manifest["measures"] = measure(bank, plan.images, plan.pipeline.unet, seed=plan.seed)
    manifest["measures"]["saturated"] = _saturation(folder, shards)
    _draw_sheet(bank, plan.images, folder / "sheet.png", seed=plan.seed)
    files.write_json(folder / "manifest.json", manifest)
    flops = sampling_flops(plan.pipeline.unet, plan.config, len(bank), plan.images.train.images.shape[1:])
    # Not in the manifest: equal banks have equal manifests, whatever time their making took.
    cost = {"flops": flops, "generator": training_cost(plan.diffusion)}
    verdict = judge_bank(bank, plan.images, plan.pipeline, plan.config, seed=plan.seed)
    return {"anchors": len(bank), "candidates": bank.candidates, **cost, "verdict": verdict.record()}


def _require_others(config: SynthesizeConfig, anchors: int) -> None:
    if config.start == "other" and anchors < 2:
        raise UserError("--synthesize.start other needs at least 2 anchors; choose anchor, or more images")


def _require_room(plan: _Plan, folder: Path) -> None:
    """Refuse to draw what the disk cannot hold; the size of the shards that are missing is known beforehand."""
    parts = plan.parts()
    missing = missing_parts(folder, parts, plan.made)
    anchor = plan.config.candidates * int(np.prod(plan.images.train.images.shape[1:]))
    needed = sum(part.count for part in missing) * anchor
    # In this order: what other processes write meanwhile takes room, but is counted as room that it has already.
    free = shutil.disk_usage(folder).free
    free += bytes_to_replace(folder, parts, missing)
    if needed > free:
        raise UserError(
            f"the bank needs {needed / 1e9:.2f} GB more, {folder} has {free / 1e9:.2f} GB free; "
            "use fewer --candidates or another --out"
        )


def _make_shards(plan: _Plan, folder: Path, current: Stage) -> list[Shard]:
    """Make the shards that are missing; a shard and its facts are written together or not at all."""
    parts = plan.parts()
    if distributed.rank() == 0:
        files.write_array(folder / "ids.npy", plan.anchors)
        remove_others(folder, parts)
    distributed.barrier()
    mine = parts[distributed.rank() :: distributed.world_size()]
    missing = missing_parts(folder, mine, plan.made)
    total, left = (sum(part.count for part in some) for some in (mine, missing))
    if left < total:
        console.say(f"synthetic positives: {total - left} of {total} anchors were done before")
    with stopping() as stop, console.progress("synthetic positives", total, "anchors", total - left) as bar:
        for part in missing:
            faults.point("shard")
            drawn = _draw_shard(plan, part, bar, stop)
            if drawn is None:
                lost = bar.done - (total - left)
                leave(
                    stop,
                    f"synthetic positives: {total - left} of {total} anchors are kept, {lost} more were drawn "
                    "of a shard that was not finished, and are not",
                )
            require_there(folder)
            files.settle()  # nothing is kept that was drawn from damaged images
            write_shard(folder, part, *drawn, plan.made)
            current.keep_time()
            left -= part.count
            if stop.signal is not None and left:
                leave(stop, f"synthetic positives: {total - left} of {total} anchors are kept")
    distributed.barrier()
    return written(folder, parts, plan.made)


def _draw_shard(plan: _Plan, part: Part, bar: console.Progress, stop: Stop) -> tuple[np.ndarray, float] | None:
    """Draw the candidates of a part: uint8 [count, k, H, W, C], and the fraction of values that were cut off.

    None: it was told to stop before the last of them.
    """
    ids = plan.anchors[part.first : part.first + part.count]
    images, saturated, done = [], [], 0
    for drawn in plan.at_once.over(lambda first, last: _draw(plan, ids[first:last]), len(ids)):
        images.append(drawn.images.permute(0, 1, 3, 4, 2).cpu().numpy())
        saturated.append(drawn.saturated.cpu().numpy())
        bar.advance(len(drawn.images))
        done += len(drawn.images)
        if stop.signal is not None and done < len(ids):
            return None
    return np.concatenate(images), float(np.concatenate(saturated).mean())


def _draw(plan: _Plan, ids: np.ndarray) -> SyntheticPositiveOutput:
    """Draw the candidates of some anchors."""
    if faults.point("draw") == "oom":
        raise torch.OutOfMemoryError("injected")
    with plan.autocast:
        anchors, starts, sampling = _scaled(plan, ids), _starts(plan, ids), plan.config.sampling()
        return plan.pipeline.draw(anchors, sampling, seed=plan.seed, anchor_ids=ids, starts=starts)


def _alone(config: SynthesizeConfig) -> str:
    """What memory may not suffice for, and what to do then."""
    return (
        f"the {config.candidates} candidates of one anchor; choose fewer --synthesize.candidates or a smaller "
        "--images.size, or make some free"
    )


def _scaled(plan: _Plan, ids: np.ndarray) -> Tensor:
    """Images of the train part, float [B, C, H, W] in [-1, 1]."""
    return torch.from_numpy(files.take(plan.images.train.images, ids)).float() / 127.5 - 1.0


def _starts(plan: _Plan, ids: np.ndarray) -> Tensor | None:
    """What the candidates start from: other images, float [B, k, C, H, W]; None: the pipeline's own start."""
    config = plan.config
    if plan.starts is None and (config.start == "anchor" or config.strength == 1.0):
        return None
    choose = plan.starts or other_anchors(plan.anchors, seed=plan.seed)
    return _scaled(plan, choose(ids, config.candidates).reshape(-1)).unflatten(0, (len(ids), config.candidates))


def _manifest(plan: _Plan, shards: list[Shard], current: Stage) -> dict[str, Any]:
    channels, height, width = plan.images.train.images.shape[1:]
    return {
        "format": FORMAT,
        "anchors": sum(shard.count for shard in shards),
        "candidates": plan.config.candidates,
        "shape": [height, width, channels],
        "dtype": "uint8",
        "data": {"source": plan.images.source, "fingerprint": current.inputs["data"]},
        "unet": current.inputs["unet"],
        "sampler": {**current.settings, "scheduler": type(plan.pipeline.scheduler).__name__},
        "version": __version__,
        "shards": [asdict(shard) for shard in shards],
    }


def _saturation(folder: Path, shards: list[Shard]) -> dict[str, Any]:
    saturated = [saturation(folder, shard) for shard in shards]
    weights = [shard.count for shard in shards]
    return {
        "value": round(float(np.average(saturated, weights=weights)), 4),
        "meaning": "fraction of pixel values that had to be cut off at black or white",
    }


def _draw_sheet(bank: PositiveBank, images: Images, path: Path, *, seed: int) -> None:
    """Draw some anchors, each with its candidates beside it."""
    rows = subset(len(bank), _SHEET_ANCHORS, seed=seed + 1)
    anchors = files.take(images.train.images, bank.ids[rows])[:, None]
    save_sheet(path, np.concatenate((anchors, bank.array(rows)), axis=1), separate_first=True)
