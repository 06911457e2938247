"""The stages that train an encoder for dense correspondence, and measure it beside others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clsp import distributed, files, randomness
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.diffusion.unet import unet_hash
from clsp.encoders.export import EncoderSpec, load_encoder, read_spec, save_encoder
from clsp.encoders.features import encode_images
from clsp.engine.neighbours import nearest
from clsp.engine.pixels import Pixels
from clsp.engine.stage import Stage, stage
from clsp.errors import UserError
from clsp.images.imageset import subset
from clsp.methods.base import NoSettings
from clsp.settings.values import plain
from clsp.tasks.correspondence.config import DenseConfig, DenseRecipe
from clsp.tasks.correspondence.features import Mapped, maps_and_features, of_diffusion, of_encoder
from clsp.tasks.correspondence.keypoints import Pair, read_pairs
from clsp.tasks.correspondence.measure import on_pairs, on_warps
from clsp.tasks.correspondence.training import Corresponding, Other
from clsp.tasks.job import Draws, Job, Keep, tested, train
from clsp.tasks.start import Beginning, find_beginning
from clsp.tasks.views import Drawing

MEASURES = "measures"
"""The folder of what was measured, below the encoder's."""


def make_dense(job: Job[DenseRecipe]) -> None:
    """Train an encoder into the job's folder, and measure its feature map beside others'.

    Args:
        job: the images. Candidates serve ``cycle.other candidate``. ``more`` holds ``diffusion``, a diffusion model
            whose features are measured as well, and ``pairs``, the folder of a benchmark of key points.

    Raises:
        UserError: a setting needs what is not there, or as `clsp.tasks.job.train` says.
    """
    config = job.recipe.dense
    ids = subset(len(job.images.train), config.images, seed=job.recipe.seed)
    _require_together(config, job)
    beside = _beside(job)  # what cannot be used is refused before the training
    about: dict[str, Any] = {"title": "dense encoder", "section": "dense", "makes": (), "count": len(ids)}
    train(job, config, build=partial(build, job, ids), measures=False, **about)
    measure_dense(job, beside)


@dataclass(frozen=True)
class Beside:
    """What the encoder is measured beside, and on."""

    diffusion: Mapped | None
    """What maps images by the decoder of a diffusion model; None without one."""
    unet: str
    """The hash of its U-Net."""
    pairs: list[Pair]
    """Of a benchmark; empty without one."""

    def made(self) -> dict[str, str]:
        """What it holds, to name a stage by: of the images of pairs their names and sizes."""
        found = [
            (*((str(path), path.stat().st_size) for path in (pair.source, pair.target) if path.is_file()),
             pair.points.tolist(), pair.truth.tolist(), pair.extent)
            for pair in self.pairs
        ]  # fmt: skip
        return {"diffusion": self.unet, "pairs": files.fingerprint(found)}


def _beside(job: Job[DenseRecipe]) -> Beside:
    """Read what ``more`` names.

    Raises:
        UserError: a diffusion model or a benchmark cannot be read, or the model has no such level or block.
    """
    model, benchmark, chosen = job.more.get("diffusion"), job.more.get("pairs"), job.recipe.dense.measure
    pairs = read_pairs(Path(benchmark)) if benchmark else []
    if not model:
        return Beside(None, "none", pairs)
    pipeline = SyntheticPositivePipeline.from_pretrained(model)
    about: dict[str, Any] = {"channels": job.images.channels, "seed": job.recipe.seed}
    mapped = of_diffusion(pipeline.unet, pipeline.scheduler, time=chosen.time, block=chosen.block, **about)
    return Beside(mapped, unet_hash(pipeline.unet), pairs)


def measure_dense(job: Job[DenseRecipe], beside: Beside) -> Stage:
    """Measure the encoder in the job's folder beside others: what it was before, random weights, a diffusion model.

    It is a stage of its own, in ``measures``: with other settings of it the encoder is not trained again.

    Raises:
        UserError: one of them cannot be read.
    """
    config, seed, place = job.recipe.dense, job.recipe.seed, job.folder / MEASURES
    made = {**tested(job.images), **beside.made()}
    made |= {"encoder": files.file_hash(job.folder / "encoder.safetensors")[:16], "before": str(job.encoder)}
    made["how"] = files.fingerprint(plain(config.measure))
    about: dict[str, Any] = {"data": job.images.fingerprint, "made": made, "makes": ("metrics.json",), "alone": True}
    with stage("dense measures", place, NoSettings(), seed=seed, **about) as current:
        if not current.finished and distributed.rank() == 0:
            torch.manual_seed(seed)
            found = _measured(_rows(job, beside), job, beside.pairs)
            files.write_json(place / "metrics.json", found)
            current.facts = {name: row["pck@0.1"] for name, row in found["warps"].items()}
    return current


def _require_together(config: DenseConfig, job: Job[DenseRecipe]) -> None:
    """Refuse settings that do not go together.

    Raises:
        UserError: names the option.
    """
    other, used, named = config.cycle.other, bool(config.cycle.weight and config.epochs), job.positives
    if used and other == "candidate" and named is None:
        raise UserError("--dense.cycle.other candidate needs positives: --positives BANK")
    if named is not None and not (used and other == "candidate"):
        raise UserError("--positives serves --dense.cycle.other candidate alone; give that, too")
    if used and other == "class" and job.images.train.labels is None:
        raise UserError(f"--dense.cycle.other class: {job.images.source} has no labels; choose nearest")


def build(job: Job[DenseRecipe], ids: np.ndarray, beginning: Beginning) -> tuple[Corresponding, Keep]:
    """Make the training with its first weights, and what keeps its result.

    Raises:
        UserError: the backbone has no such stage.
    """
    images, config, seed = job.images, job.recipe.dense, job.recipe.seed
    spec, encoder = beginning.described(images, ids), beginning.build(config.backbone)
    with torch.no_grad():
        maps_and_features(encoder.eval(), torch.zeros(2, spec.channels, images.size, images.size), config.layer)
    pixels, drawing = Pixels(images.train.images, ids), Drawing(spec, config.augment, seed=seed)
    other = _others(job, encoder, spec, pixels, ids) if config.cycle.weight and config.epochs else None
    training = Corresponding(encoder.train(), config, drawing, pixels, ids, other=other)
    return training, partial(_keep, job, training, spec)


def _keep(job: Job[DenseRecipe], training: Corresponding, spec: EncoderSpec) -> dict[str, Any]:
    """Write the encoder; return the stage's facts."""
    save_encoder(job.folder, training.encoder, spec, {"stage": "dense encoder", "seed": job.recipe.seed})
    return {}


def _others(
    job: Job[DenseRecipe], encoder: nn.Module, spec: EncoderSpec, pixels: Pixels, ids: np.ndarray
) -> Callable[[torch.device], Other] | None:
    """What gives the other image of a way, once the device is known; None: another view of the image itself."""
    kind, labels = job.recipe.dense.cycle.other, job.images.train.labels
    if kind == "candidate" and (draws := job.candidates(pixels, ids)) is not None:
        return partial(_candidates, draws, pixels)
    if kind == "class" and labels is not None:
        return partial(_same_class, pixels, labels[ids], job.recipe.seed)
    if kind == "nearest":
        train = files.Rows(job.images.train.images, ids)
        features = encode_images(encoder, train, torch.tensor(spec.mean), torch.tensor(spec.std))
        return partial(_nearest, pixels, nearest_others(features))
    return None


def nearest_others(features: Tensor) -> Tensor:
    """The nearest other row of each, of features float [N, D]: int64 [N]."""
    _, places = nearest(features, features, 2)
    own = torch.arange(len(features))
    return torch.where(places[:, 0] == own, places[:, 1], places[:, 0])


def _candidates(draws: Draws, pixels: Pixels, device: torch.device) -> Other:
    drawn = draws(device)
    return lambda positions, step: drawn(positions, pixels[positions], step).images


def _nearest(pixels: Pixels, partners: Tensor, device: torch.device) -> Other:
    known = partners.to(device)
    return lambda positions, step: pixels[known[positions]]


def _same_class(pixels: Pixels, labels: np.ndarray, seed: int, device: torch.device) -> Other:
    """Any image of the same label, itself too; who has no label finds itself."""
    alone = np.where(labels >= 0, labels, -1 - np.arange(len(labels)))
    _, classes, counts = np.unique(alone, return_inverse=True, return_counts=True)
    order = torch.from_numpy(np.argsort(classes, kind="stable")).to(device)
    first, size, of = (torch.from_numpy(some).to(device) for some in (np.cumsum(counts) - counts, counts, classes))

    def drawn(positions: Tensor, step: int) -> Tensor:
        own = of[positions]
        place = (randomness.uniform(seed, "same class", (step, positions), 1)[:, 0] * size[own]).long()
        return pixels[order[first[own] + torch.minimum(place, size[own] - 1)]]

    return drawn


def _rows(job: Job[DenseRecipe], beside: Beside) -> dict[str, Mapped]:
    """What is compared: random weights, the encoder before and after, and the diffusion model's features."""
    config = job.recipe.dense
    beginning, spec, layer = (
        find_beginning(job.encoder, job.images, config.backbone),
        read_spec(job.folder),
        config.layer,
    )
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    rows = {"random": of_encoder(spec.build(), mean, std, layer)}
    if beginning.pretrained:
        rows["before"] = of_encoder(beginning.build(config.backbone), mean, std, layer)
    if config.epochs:
        rows["trained"] = of_encoder(load_encoder(job.folder), mean, std, layer)
    if beside.diffusion is not None:
        rows["diffusion"] = beside.diffusion
    return rows


def _measured(rows: dict[str, Mapped], job: Job[DenseRecipe], pairs: list[Pair]) -> dict[str, Any]:
    """PCK of every row, on warps and on a benchmark's pairs."""
    images, config = job.images, job.recipe.dense.measure
    split, seed = images.test or images.train, job.recipe.seed
    part = f"{min(len(split), config.pairs)} images of the {'train' if images.test is None else 'test'} part"
    found: dict[str, Any] = {"warps": on_warps(rows, split.images, config, seed=seed), "tested": part}
    if pairs:
        about: dict[str, Any] = {"size": images.size, "channels": images.channels, "seed": seed}
        found["pairs"] = on_pairs(rows, pairs, config, **about)
        found["of_pairs"] = f"{min(len(pairs), config.pairs)} pairs of {Path(str(job.more['pairs'])).name}"
    return found
