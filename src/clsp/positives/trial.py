"""A trial draw: whether a diffusion model that is still being trained draws candidates that are worth training on."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import UNet2DModel
from torch import Tensor

from clsp import files
from clsp.diffusion.condition import Condition
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.diffusion.samplers import make_sampler
from clsp.engine.memory import in_batches
from clsp.images.imageset import Images, subset
from clsp.positives.config import SynthesizeConfig
from clsp.positives.gate import REAL, judge
from clsp.positives.starts import other_anchors
from clsp.positives.verdict import Verdict

_ANCHORS, _AT_ONCE = 128, 32
"""Anchors that get candidates, and anchors drawn at once, at most."""


def try_draw(
    unet: UNet2DModel,
    scheduler: object,
    images: Images,
    config: SynthesizeConfig,
    *,
    max_strength: float,
    seed: int,
    condition: Condition | None = None,
) -> Verdict:
    """Draw candidates for some anchors, as the bank would have them, and judge them.

    Args:
        unet: the averaged model, in eval mode.
        scheduler: the forward process that it learns, a scheduler of diffusers.
        images: the data.
        config: how the bank is to be drawn.
        max_strength: the largest strength that the model is trained for.
        seed: the bank's.
        condition: what the model is told of an anchor.
    """
    settings = dict(scheduler.config)  # type: ignore[attr-defined]
    sampler = make_sampler(config.sampler, settings, clip_sample=config.clip_sample)
    pipeline = SyntheticPositivePipeline(unet, sampler, condition)
    pipeline.max_strength = max_strength
    train = images.train.images
    every = subset(len(train), config.anchors, seed=seed)
    ids = every[subset(len(every), _ANCHORS, seed=seed + 4)]
    at_once = min(_AT_ONCE, max(config.batch_size // config.candidates, 1))  # the training's memory is held meanwhile
    drawn = in_batches(
        lambda first, last: _drawn(pipeline, train, every, ids[first:last], config, seed), len(ids), at_once
    )
    real = files.take(train, subset(len(train), REAL, seed=seed + 5))
    return judge(np.concatenate(drawn), files.take(train, ids), real, unet=unet)


def _drawn(
    pipeline: SyntheticPositivePipeline,
    train: files.Array,
    every: np.ndarray,
    ids: np.ndarray,
    config: SynthesizeConfig,
    seed: int,
) -> np.ndarray:
    """Candidates of the anchors ``ids``, uint8 [B, k, C, H, W]."""
    starts = None
    if config.start == "other" and config.strength < 1.0:
        chosen = other_anchors(every, seed=seed)(ids, config.candidates)
        starts = _scaled(train, chosen.reshape(-1)).unflatten(0, chosen.shape)
    made = pipeline.draw(_scaled(train, ids), config.sampling(), seed=seed, anchor_ids=ids, starts=starts)
    return made.images.cpu().numpy()


def _scaled(train: files.Array, ids: np.ndarray) -> Tensor:
    return torch.from_numpy(files.take(train, ids)).float() / 127.5 - 1.0
