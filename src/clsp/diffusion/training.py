"""Training of the diffusion model: Ho et al., "Denoising Diffusion Probabilistic Models", equation 14."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from clsp import distributed, files, randomness
from clsp.diffusion.condition import Condition, condition_for, digest_of, find_encoder, told_width, untold
from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.interpolation import Sampling, decode, encode, sample
from clsp.diffusion.levels import noise_levels, prediction_loss
from clsp.diffusion.start import Start, find_start, finished_weights
from clsp.diffusion.unet import Grid, build_scheduler, build_unet, unet_hash
from clsp.engine.batches import Batches
from clsp.engine.course import Course, Pace, paced, told
from clsp.engine.ema import EMA
from clsp.engine.fit import Callback, Fit, StepOutput, Training
from clsp.engine.hardware import HardwareConfig, device_of
from clsp.engine.launch import launch
from clsp.engine.pixels import Pixels
from clsp.engine.schedule import warmup_factor
from clsp.engine.stage import Stage, stage
from clsp.engine.transfer import send
from clsp.images.augment import CROP_DRAWS, crop_boxes, resized_crop
from clsp.images.config import AugmentConfig
from clsp.images.imageset import Images, subset
from clsp.images.sheet import save_sheet
from clsp.objectives.dispersive import dispersive

MAKES = (
    "model_index.json",
    "unet/*",
    "scheduler/*",
    "condition/*",
    "samples.png",
    "metrics.jsonl",
    "checkpoints/last.safetensors",
)
"""What the stage makes."""

Serves = Callable[[UNet2DModel, DDPMScheduler, Condition | None], bool]
"""Whether what an averaged model draws is good enough."""

_SHEET = 32
"""Images on a sheet of samples."""


class DiffusionTraining(Training[StepOutput]):
    """The noise predictor, its average, and one step of its training."""

    def __init__(
        self,
        config: DiffusionConfig,
        pixels: Pixels,
        *,
        seed: int,
        start: Start | None = None,
        told: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config, self.seed, self.pixels, self.told = config, seed, pixels, told
        self.size = (pixels.shape[2], pixels.shape[3])
        self.unet = build_unet(config, channels=pixels.shape[1], size=self.size[0])
        if start is not None:
            start.begin(self.unet, config)
        self.grid = Grid.of(self.unet, pixels.shape[1])
        self.ema = EMA(self.unet)
        self.noising = build_scheduler(config)
        self.batches = Batches(len(pixels), config.batch_size, seed=seed, stream="diffusion", drop_last=False)
        self.course, self.steps_per_epoch = Course(config.steps), self.batches.steps_per_epoch
        self.gradient_clip = config.gradient_clip

    def to_device(self, device: torch.device) -> None:
        """Move the uint8 images to the device once, if they fit, and what is told of them."""
        self.pixels.to(device)
        self.told = None if self.told is None else self.told.to(device)

    def step(self, number: int) -> StepOutput:
        """Predict the noise (or v) in a batch of noised images; mean squared error, weighted by noise level."""
        device = self.unet.device
        rows = self.batches.positions(number, device)
        # A row may occur twice in one batch (more images a step than there are images): its place tells them apart.
        place = send(self.batches.rows(), device)
        clean = self._clean(rows, place, number)
        t = noise_levels(self.config, number, place, seed=self.seed)
        noise = randomness.normal(self.seed, "diffusion noise", (number, place), clean.shape[1:])
        predicted, more = self._predicted(self.noising.add_noise(clean, noise, t), t, self._told(rows, place, number))
        loss = prediction_loss(predicted, clean, noise, t, self.noising, self.config.min_snr_gamma)
        return StepOutput({"noise_prediction": loss, **more})

    def _predicted(self, noised: Tensor, t: Tensor, told: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """What the U-Net says of noised images, and the term on its middle features, where there is one."""
        if not self.config.dispersive:
            return self.unet(noised, t, class_labels=told, return_dict=False)[0], {}
        encoded = encode(self.unet, noised, t, told)
        return decode(self.unet, encoded), {"dispersive": self.config.dispersive * dispersive(encoded.middle)}

    def compiled(self) -> Sequence[nn.Module]:
        """What `torch.compile` is for: the U-Net, or its parts, where something happens between them."""
        unet = self.unet
        return (*unet.down_blocks, unet.mid_block, *unet.up_blocks) if self.config.dispersive else (unet,)

    def blank_step(self, images: int) -> None:
        """A step's forward and backward pass on so many images without content, to reckon what it takes."""
        side = self.unet.config.sample_size
        x = torch.zeros(images, self.unet.config.in_channels, side, side, device=self.unet.device)
        t = torch.zeros(images, dtype=torch.int64, device=self.unet.device)
        self.unet(x, t, return_dict=False, **untold(self.unet, images))[0].float().square().mean().backward()

    def _told(self, rows: Tensor, place: Tensor, number: int) -> Tensor | None:
        """What a conditional U-Net is told of a batch: of some images, drawn at random, nothing; mirrored, the same."""
        if self.told is None:
            return None
        draws = randomness.uniform(self.seed, "diffusion condition", (number, place), 1)
        return self.told[rows] * (draws >= self.config.condition_dropout)

    def _clean(self, rows: Tensor, place: Tensor, number: int) -> Tensor:
        """uint8 rows to float in [-1, 1], flipped and cropped by recipe and brought to the U-Net's grid."""
        images = self.pixels[rows].float().div_(127.5).sub_(1.0)
        if self.config.horizontal_flip:
            flip = randomness.uniform(self.seed, "diffusion flip", (number, place), 1)[:, 0] < 0.5
            images = torch.where(flip[:, None, None, None], images.flip(-1), images)
        if self.config.crop_scale[0] < 1.0:
            draws = randomness.uniform(self.seed, "diffusion crop", (number, place), CROP_DRAWS).T
            boxes = crop_boxes(draws, AugmentConfig(crop_scale=self.config.crop_scale, crop_ratio=[1.0, 1.0]))
            images = resized_crop(images, *boxes, flip=torch.zeros_like(rows, dtype=torch.bool), size=self.size)
        return self.grid.enter(images)

    def optimizer(self) -> tuple[Optimizer, LRScheduler]:
        """AdamW without weight decay, warm-up, then constant or cosine."""
        config = self.config
        optimizer = torch.optim.AdamW(self.unet.parameters(), lr=config.lr, weight_decay=0.0)

        def factor(step: int) -> float:
            place = self.course.at(step)
            return warmup_factor(place, total=config.steps, warmup=config.warmup_steps, shape=config.schedule)

        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    def after_step(self, number: int) -> None:
        """Update the average."""
        done = number + 1
        self.ema.update(min(self.config.ema_decay, (1 + done) / (10 + done)))


@dataclass(frozen=True)
class Samples(Callback[StepOutput]):
    """Draws ``samples.png`` now and then: plain samples of the averaged model, the same noise every time."""

    folder: Path

    def on_step_end(self, training: DiffusionTraining, number: int) -> dict[str, float]:
        """Draw after every ``sample_every`` steps, and after the last."""
        every = training.config.sample_every
        if distributed.rank() == 0 and (number == training.steps or (every and number % every == 0)):
            self.draw(training)
        return {}

    def draw(self, training: DiffusionTraining) -> None:
        """Write the sheet. A model that is not trained for pure noise begins with noised images."""
        unet, config, grid = training.ema.average.eval(), training.config, training.grid
        ids = torch.arange(_SHEET, device=unet.device)
        images = grid.enter(training.pixels[ids % len(training.pixels)].float() / 127.5 - 1.0)
        sampler = DDIMScheduler.from_config(training.noising.config, timestep_spacing="trailing", clip_sample=True)
        settings = Sampling(candidates=1, interpolation_weight=1.0, steps=min(20, config.timesteps), eta=1.0)
        settings.strength = max(math.floor(settings.steps * config.max_strength), 1) / settings.steps  # none untrained
        drawn = grid.leave(sample(unet, sampler, images, ids, settings, seed=training.seed), training.size)
        pictures = ((drawn.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        save_sheet(self.folder / "samples.png", pictures.reshape(4, _SHEET // 4, *pictures.shape[1:]))


def train_diffusion(
    images: Images,
    config: DiffusionConfig,
    hardware: HardwareConfig,
    *,
    seed: int,
    folder: Path,
    pace: Pace | None = None,
    serves: Serves | None = None,
) -> Stage:
    """Train the model on the train part of ``images`` and save it as a diffusers pipeline in ``folder``.

    The folder then holds what ``DDPMPipeline.from_pretrained(folder)`` loads (averaged weights, safetensors),
    ``samples.png``, ``metrics.jsonl`` and ``stage.json`` with the U-Net's hash. A call that finds it finished does
    nothing; one that finds it interrupted continues. ``pace`` keeps the training within a time, in place of the
    number of steps in ``config``; ``serves`` tells of the averaged model, before the schedule's end, whether what it
    draws is good enough, else the pace gives it more time.

    Raises:
        UserError: settings do not fit, or the folder belongs to other settings or data; or the weights to start from
            are not there, or another kind of model's, or the encoder that is to condition it.
    """
    launch(hardware)
    weights, encoder = finished_weights(config, folder), find_encoder(config, images, folder)
    start = None if weights else find_start(config)
    begun = {"weights": weights} if weights else {} if start is None else {"weights": start.digest}
    begun |= {} if encoder is None else {"condition": digest_of(encoder)}
    about: dict[str, Any] = {"seed": seed, "data": images.fingerprint, "settings": begun, "makes": MAKES}
    with stage("diffusion model", folder, config, **about) as current:
        if current.finished:
            return current
        chosen = subset(len(images.train), config.images, seed=seed)
        condition, embeddings = None, None
        if encoder is not None:
            how: dict[str, Any] = {"width": told_width(config.widths), "device": device_of(hardware)}
            rows, known = files.Rows(images.train.images, chosen), None if start is None else start.condition
            condition, embeddings = condition_for(encoder, rows, folder, start=known, **how)
        torch.manual_seed(seed)
        pixels = Pixels(images.train.images, chosen)
        training = DiffusionTraining(config, pixels, seed=seed, start=start, told=embeddings)
        hardware.compile_parts(training.compiled())
        if pace is not None and serves is not None:
            pace = replace(pace, enough=lambda: serves(training.ema.average.eval(), training.noising, condition))
        fit = Fit(
            folder=folder,
            title="diffusion model",
            precision=config.precision,
            hardware=hardware,
            checkpoint_minutes=config.checkpoint_minutes,
            on_checkpoint=current.keep_time,
            pace=paced(pace, training.course, current.facts, current.spent),
            callbacks=(Samples(folder),),
            batch_setting="diffusion.batch_size",
        )
        fit.run(training)
        if distributed.rank() == 0:
            current.facts = _save(training, folder)
            current.facts |= {"images": len(chosen), **told(training.course)}
            if start is not None and start.spent:
                current.facts["before"] = start.spent
            if condition is not None:
                current.facts["condition"] = condition.spent
    return current


def _save(training: DiffusionTraining, folder: Path) -> dict[str, Any]:
    """Save the averaged weights, each file whole or not at all; the index, which makes it a pipeline, comes last."""
    unet = training.ema.average.eval().cpu()
    temporary = folder / ".pipeline.clsp-tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    DDPMPipeline(unet=unet, scheduler=training.noising).save_pretrained(temporary, safe_serialization=True)
    made = [path for path in temporary.rglob("*") if path.is_file()]
    for path in sorted(made, key=lambda path: path.name == "model_index.json"):
        files.write_bytes(folder / path.relative_to(temporary), path.read_bytes())
    shutil.rmtree(temporary)
    return {"unet": unet_hash(unet), "parameters": sum(p.numel() for p in unet.parameters())}
