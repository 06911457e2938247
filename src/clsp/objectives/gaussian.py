"""Embeddings that are spread like a Gaussian: SIGReg, by which LeJEPA needs no negatives and no target network."""

from __future__ import annotations

import torch
from torch import Tensor

from clsp import distributed
from clsp.objectives.precision import full_precision

_KNOTS, _FARTHEST = 17, 3.0
"""Points of the integral over t from 0 to the farthest, as lightly's and the authors' code have them."""


@full_precision
def sigreg(views: Tensor, directions: Tensor) -> Tensor:
    """Sketched isotropic Gaussian regularisation, Balestriero and LeCun (arXiv 2511.08544), as its code has it.

    For x = z a, the embeddings of a view along a direction, Epps and Pulley's statistic compares their characteristic
    function with a standard Gaussian's: G int |mean(exp(i t x)) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt over t from -3 to 3
    by the trapezoidal rule, where G is the global batch. Returned is its mean over directions and views.

    Args:
        views: embeddings of each view, float [V, B, D], not normalised.
        directions: unit vectors, float [D, M], the same in all processes.

    Returns:
        A scalar, at least 0.
    """
    gathered = distributed.gather(views.transpose(0, 1)).transpose(0, 1)
    t = torch.linspace(0.0, _FARTHEST, _KNOTS, device=views.device, dtype=views.dtype)
    gaussian = torch.exp(-0.5 * t.square())
    weights = torch.full_like(t, 2.0 * _FARTHEST / (_KNOTS - 1))  # twice: the integrand is even in t
    for end in (weights[:1], weights[-1:]):
        end.mul_(0.5)
    angles = (gathered @ directions.to(views.dtype)).unsqueeze(-1) * t
    real, imaginary = angles.cos().mean(dim=1), angles.sin().mean(dim=1)
    apart = (real - gaussian).square() + imaginary.square()
    return gathered.shape[1] * (apart @ (weights * gaussian)).mean()


@full_precision
def centred(views: Tensor, whole: int) -> Tensor:
    """LeJEPA's invariance: the squared distance of every view to the mean of the whole ones, by view, row and column.

    Args:
        views: embeddings, float [V, B, D]: the whole views first, then those of local crops.
        whole: how many of them are whole.

    Returns:
        A scalar.
    """
    return (views - views[:whole].mean(dim=0)).square().mean()
