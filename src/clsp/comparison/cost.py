"""What an arm costs: seconds that were measured, and FLOPs that are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clsp.diffusion.config import DiffusionConfig
from clsp.positives.config import SynthesizeConfig


@dataclass(frozen=True)
class Cost:
    """The cost of one arm; a bank's generator is part of it."""

    pretraining_seconds: float
    """Wall time of one pretraining, the mean over the seeds."""
    generator_seconds: float
    """Wall time of the diffusion model's training and of the bank; 0 without a bank."""
    pretraining_flops: float
    """FLOPs of one pretraining (2 a multiplication and addition, forward and backward)."""
    generator_flops: float
    """FLOPs of the diffusion model's training and of the bank; 0 without a bank."""

    def record(self) -> dict[str, float]:
        """The values for comparison.json."""
        return {name: float(f"{value:.4g}") for name, value in vars(self).items()}


def count_step(run: Any) -> float:
    """Count the FLOPs of calling ``run``, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def generator_flops(
    diffusion: DiffusionConfig, synthesis: SynthesizeConfig, *, channels: int, size: int, anchors: int
) -> float:
    """Count what the diffusion model's training and the bank cost.

    A training step is forward and backward of a batch; a sampling step is one pass over all candidates and the first
    half of the network once for each anchor.
    """
    import torch

    from clsp.diffusion.interpolation import encode
    from clsp.diffusion.unet import build_unet

    unet = build_unet(diffusion, channels=channels, size=size)
    side = unet.config.sample_size
    x, t = torch.zeros(1, channels, side, side), torch.zeros(1, dtype=torch.int64)
    training = count_step(lambda: unet(x, t, return_dict=False)[0].sum().backward())
    with torch.no_grad():
        full = count_step(lambda: unet(x, t, return_dict=False))
        half = count_step(lambda: encode(unet, x, 0))
    per_anchor = synthesis.steps * (synthesis.candidates * full + half)
    return training * diffusion.steps * diffusion.batch_size + anchors * per_anchor
