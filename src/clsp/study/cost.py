"""What an arm costs: seconds that were measured, and FLOPs that were counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The cost of one arm; a bank's generator is part of it."""

    pretraining_seconds: float
    """Wall time of one pretraining, the mean over the seeds."""
    generator_seconds: float
    """Wall time of the diffusion model's training (0 for one made elsewhere) and of the bank; 0 without a bank."""
    pretraining_flops: float
    """FLOPs of one pretraining (2 a multiplication and addition, forward and backward)."""
    generator_flops: float
    """FLOPs of the diffusion model's training and of the bank; 0 without a bank."""

    def record(self) -> dict[str, float]:
        """The values for comparison.json."""
        return {name: float(f"{value:.4g}") for name, value in vars(self).items()}
