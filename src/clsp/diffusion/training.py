"""Training of the unconditional diffusion model: Ho et al., "Denoising Diffusion Probabilistic Models", equation 14."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMPipeline
from lightning.pytorch import LightningModule
from torch import Tensor

from clsp import distributed, randomness
from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.interpolation import Sampling, sample
from clsp.diffusion.levels import noise_levels, prediction_loss
from clsp.diffusion.unet import Grid, build_scheduler, build_unet, unet_hash
from clsp.engine.batches import Batches, counting_loader
from clsp.engine.ema import EMA
from clsp.engine.hardware import HardwareConfig
from clsp.engine.pixels import Pixels
from clsp.engine.schedule import warmup_factor
from clsp.engine.stage import Stage, stage
from clsp.engine.trainer import Fit, require_finite
from clsp.images.imageset import Images, subset
from clsp.images.sheet import save_sheet

_SHEET = 32
"""Images on a sheet of samples."""


class DiffusionTraining(LightningModule):
    """The noise predictor, its average, and one step of its training."""

    def __init__(self, config: DiffusionConfig, pixels: Pixels, *, seed: int, folder: Path) -> None:
        super().__init__()
        self.config, self.seed, self.folder = config, seed, folder
        self.size = (pixels.shape[2], pixels.shape[3])
        self.unet = build_unet(config, channels=pixels.shape[1], size=self.size[0])
        self.grid = Grid.of(self.unet, pixels.shape[1])
        self.ema = EMA(self.unet)
        self.noising = build_scheduler(config)
        self.batches = Batches(len(pixels), config.batch_size, seed=seed, stream="diffusion", drop_last=False)
        self._terms: dict[str, Tensor] = {}
        self._pixels = pixels  # a plain attribute: data are no part of the checkpoint

    def train_dataloader(self) -> Any:
        """Lightning's loop counts the steps of an epoch; `training_step` makes the batch."""
        return counting_loader(self.batches.steps_per_epoch)

    def on_fit_start(self) -> None:
        """Move the uint8 images to the device once, if they fit."""
        self._pixels.to(self.device)

    def training_step(self, _: Any) -> Tensor:
        """Predict the noise (or v) in a batch of noised images; mean squared error, weighted by noise level."""
        step = self.global_step
        torch.manual_seed(hash((self.seed, step, distributed.rank())) % 2**63)  # dropout: as after a resume
        rows = self.batches.positions(step).to(self.device)
        clean = self._clean(rows, step)
        # A row may occur twice in one batch (more images a step than there are images): its place tells them apart.
        place = self.batches.share().to(self.device)
        t = noise_levels(self.config, step, place, seed=self.seed)
        noise = randomness.normal(self.seed, "diffusion noise", (step, place), clean.shape[1:])
        predicted = self.unet(self.noising.add_noise(clean, noise, t), t, return_dict=False)[0]
        loss = prediction_loss(predicted, clean, noise, t, self.noising, self.config.min_snr_gamma)
        self._terms = {"noise prediction": loss.detach()}
        self.log("loss", loss)
        return loss

    def _clean(self, rows: Tensor, step: int) -> Tensor:
        """uint8 rows to float in [-1, 1], flipped by recipe and brought to the U-Net's grid."""
        images = self._pixels[rows].float().div_(127.5).sub_(1.0)
        if self.config.horizontal_flip:
            place = self.batches.share().to(self.device)
            flip = randomness.uniform(self.seed, "diffusion flip", (step, place), 1)[:, 0] < 0.5
            images = torch.where(flip[:, None, None, None], images.flip(-1), images)
        return self.grid.enter(images)

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        """Clip the gradient, log its norm, and stop when it or the loss is not finite."""
        norm = torch.nn.utils.clip_grad_norm_(self.unet.parameters(), self.config.gradient_clip)
        require_finite(self._terms, norm, self.global_step)
        self.log("gradient_norm", norm)

    def configure_optimizers(self) -> Any:
        """AdamW without weight decay, warm-up, then constant or cosine."""
        config = self.config
        optimizer = torch.optim.AdamW(self.unet.parameters(), lr=config.lr, weight_decay=0.0)

        def factor(step: int) -> float:
            return warmup_factor(step, total=config.steps, warmup=config.warmup_steps, shape=config.schedule)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step and update the average: `on_train_batch_end` comes after the checkpoint."""
        super().optimizer_step(*args, **kwargs)
        step = self.global_step + 1
        self.ema.update(self.unet, min(self.config.ema_decay, (1 + step) / (10 + step)))

    def on_train_batch_end(self, *args: Any) -> None:
        """Draw a sheet of samples now and then."""
        step = self.global_step
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        every = self.config.sample_every
        if distributed.rank() == 0 and (step == self.config.steps or (every and step % every == 0)):
            self._draw_samples()

    def _draw_samples(self) -> None:
        """Write ``samples.png``: plain samples of the averaged model, the same noise every time.

        A model that is not trained for pure noise begins with noised images.
        """
        unet, config = self.ema.average.eval(), self.config
        ids = torch.arange(_SHEET, device=self.device)
        images = self.grid.enter(self._pixels[ids % len(self._pixels)].float() / 127.5 - 1.0)
        sampler = DDIMScheduler.from_config(self.noising.config, timestep_spacing="trailing", clip_sample=True)
        how = Sampling(candidates=1, interpolation_weight=1.0, steps=min(20, config.timesteps), eta=1.0)
        how.strength = config.max_strength
        drawn = self.grid.leave(sample(unet, sampler, images, ids, how, seed=self.seed), self.size)
        pictures = ((drawn.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        save_sheet(self.folder / "samples.png", pictures.reshape(4, _SHEET // 4, *pictures.shape[1:]))


def train_diffusion(
    images: Images, config: DiffusionConfig, hardware: HardwareConfig, *, seed: int, folder: Path
) -> Stage:
    """Train the model on the train part of ``images`` and save it as a diffusers pipeline in ``folder``.

    The folder then holds what ``DDPMPipeline.from_pretrained(folder)`` loads (averaged weights, safetensors),
    ``samples.png``, ``metrics.jsonl`` and ``stage.json`` with the U-Net's hash. A call that finds it finished does
    nothing; one that finds it interrupted continues.

    Raises:
        UserError: settings do not fit, or the folder belongs to other settings or data.
    """
    chosen = subset(len(images.train), config.images, seed=seed)
    settings, inputs = {"seed": seed, **_settings(config)}, {"data": images.fingerprint}
    defaults = _settings(DiffusionConfig())
    with stage("diffusion model", folder, settings=settings, inputs=inputs, defaults=defaults) as current:
        if current.finished:
            return current
        torch.manual_seed(seed)
        module = DiffusionTraining(config, Pixels(images.train.images, chosen), seed=seed, folder=folder)
        hardware.compile_parts([module.unet])
        fit = Fit(
            folder=folder,
            title="diffusion model",
            steps=config.steps,
            precision=config.precision,
            hardware=hardware,
            checkpoint_minutes=config.checkpoint_minutes,
            on_checkpoint=current.keep_time,
        )
        fit.run(module)
        if distributed.rank() == 0:
            current.facts = _save(module, folder)
            current.facts["images"] = len(chosen)
    return current


def _settings(config: DiffusionConfig) -> dict[str, Any]:
    """The values that decide what is learned."""
    return {n: v for n, v in asdict(config).items() if n not in ("checkpoint_minutes", "sample_every")}


def _save(module: DiffusionTraining, folder: Path) -> dict[str, Any]:
    """Save the averaged weights through a temporary folder, so that no half-written pipeline is ever found."""
    unet = module.ema.average.eval().cpu()
    temporary = folder / ".pipeline.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    DDPMPipeline(unet=unet, scheduler=module.noising).save_pretrained(temporary, safe_serialization=True)
    for item in sorted(temporary.iterdir(), key=lambda path: path.name == "model_index.json"):
        target = folder / item.name
        if target.is_dir():
            shutil.rmtree(target)
        item.replace(target)
    temporary.rmdir()
    return {"unet": unet_hash(unet), "parameters": sum(p.numel() for p in unet.parameters())}
