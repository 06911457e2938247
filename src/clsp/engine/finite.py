"""Values that are no numbers any more: found before they are kept, and said with what usually helps."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from clsp import faults
from clsp.errors import UserError


class NonFiniteLossError(UserError):
    """A loss term or the gradient became NaN or infinite; raised before the optimiser could take the step."""


def require_finite(terms: dict[str, Tensor], norm: Tensor, step: int, folder: Path) -> None:
    """Stop when a loss term (scalars) or the norm of the gradient is NaN or infinite, naming it.

    To be called once between backward pass and optimiser step: the question waits for the device.

    Raises:
        NonFiniteLossError: names the terms, the step, and what usually helps.
    """
    if faults.point("loss") == "nan":
        terms = {name: term * math.nan for name, term in terms.items()}
    if faults.point("gradient") == "nan":
        norm = norm * math.nan
    finite = torch.isfinite(torch.stack([norm.float(), *(term.detach().float() for term in terms.values())]))
    if bool(finite.all()):
        return
    bad = " and ".join(name for name, fine in zip(terms, finite[1:].tolist()) if not fine)
    what = f"loss term {bad}" if bad else "gradient norm"
    raise diverged(what, step, folder)


def require_finite_weights(training: nn.Module, step: int, folder: Path) -> None:
    """Stop before weights that are NaN or infinite are kept: a finite loss may have led to them.

    Raises:
        NonFiniteLossError: as `require_finite`.
    """
    bad = next((name for name, part in training.named_parameters() if not bool(part.isfinite().all())), None)
    if bad:
        raise diverged(f"weight {bad}", step, folder)


def diverged(what: str, step: int, folder: Path) -> NonFiniteLossError:
    """Return the error that names ``what`` became non-finite, and what usually helps."""
    return NonFiniteLossError(
        f"the {what} became non-finite at step {step}; the last checkpoint is intact; start anew in another --out, or "
        f"delete {folder} first, with a lower learning rate, a longer warm-up, or precision 32"
    )
