"""The log of a training: one line for each step that is logged."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clsp import distributed, files
from clsp.engine.stage import require_there

if TYPE_CHECKING:
    from clsp.engine.fit import Training


class Log:
    """One JSON line for every logged step, in ``metrics.jsonl``, and the same for other loggers; one process writes."""

    def __init__(self, path: Path, others: Sequence[Any]) -> None:
        self.path, self._others = path, others
        self._lines: list[dict[str, Any]] = []

    def note(
        self,
        done: int,
        loss: Tensor,
        training: Training[Any],
        norm: Tensor,
        rate: float,
        metrics: dict[str, float],
        *,
        every: int,
    ) -> None:
        """Note the step, taken with a learning rate, if it is to be logged. Values that are not finite become null."""
        if distributed.rank() != 0 or (done % every and not metrics):
            return
        terms = {name: term.detach() for name, term in training.output.terms.items()}
        computed = {"loss": loss.detach(), **terms, "gradient_norm": norm}
        numbers = torch.stack([value.float() for value in computed.values()]).tolist()  # the device is asked once
        known = dict(zip(computed, numbers))
        last = known.pop("gradient_norm")
        values = {**known, **metrics, "gradient_norm": last, "lr": rate}
        clean = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._lines.append({"step": done, **clean, "epoch": (done - 1) // training.steps_per_epoch})
        if len(self._lines) >= 20:
            self.flush()
        for logger in self._others:
            logger.log_metrics(values, step=done - 1)

    def flush(self, *, durable: bool = False) -> None:
        """Write the lines that were noted; ``durable``: wait until they are on the disk."""
        if distributed.rank() == 0:
            require_there(self.path.parent)
            files.append_jsonl(self.path, self._lines, durable=durable)
        self._lines = []

    def rewind(self, step: int) -> None:
        """Forget lines after ``step``: the steps that a killed run took after its last checkpoint are repeated."""
        if distributed.rank() == 0 and self.path.exists():
            kept = [line for line in files.read_jsonl(self.path) if line["step"] <= step]
            files.write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
