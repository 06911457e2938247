"""GPUs by name, for plans of runs on machines that are not at hand."""

from __future__ import annotations

from dataclasses import dataclass

from clsp.errors import UserError, suggest


@dataclass(frozen=True)
class GPU:
    """Nominal figures."""

    memory: float
    """Bytes."""
    fp32: float
    """Peak FLOPs a second in 32 bit, without tensor cores."""
    bf16: float | None
    """Peak FLOPs a second in bf16 on tensor cores, dense; None where there is no bf16 (runs are then in 32 bit)."""

    def peak(self, *, bf16: bool) -> float:
        """Peak FLOPs a second in the precision that a run would have."""
        return self.bf16 if bf16 and self.bf16 else self.fp32


def _gpu(memory: float, fp32: float, bf16: float | None) -> GPU:
    return GPU(memory * 1e9, fp32 * 1e12, bf16 and bf16 * 1e12)


GPUS: dict[str, GPU] = {  # GB, TFLOPS
    "v100": _gpu(16, 15.7, None),
    "v100-32gb": _gpu(32, 15.7, None),
    "t4": _gpu(16, 8.1, None),
    "a10": _gpu(24, 31.2, 125),
    "a100-40gb": _gpu(40, 19.5, 312),
    "a100-80gb": _gpu(80, 19.5, 312),
    "l4": _gpu(24, 30.3, 121),
    "l40s": _gpu(48, 91.6, 362),
    "h100": _gpu(80, 67, 989),
    "h200": _gpu(141, 67, 989),
    "rtx-3090": _gpu(24, 35.6, 71),
    "rtx-4090": _gpu(24, 82.6, 165),
}
"""Nominal figures as they are commonly quoted from NVIDIA's data sheets, not all checked against them (the bf16 of the
rtx-3090 is the least certain): SXM modules where there are several; dense, that is half of what is stated with
sparsity; the gaming cards with 32-bit accumulation."""

UTILISATION = 0.35
"""Share of the peak that a run is assumed to reach: an assumption, not measured by this project."""


def find_gpu(name: str) -> GPU:
    """Look a GPU up.

    Raises:
        UserError: it is not in the table.
    """
    if name.lower() not in GPUS:
        raise UserError(f"--gpu '{name}' is not one of {', '.join(GPUS)}{suggest(name.lower(), GPUS)}")
    return GPUS[name.lower()]
