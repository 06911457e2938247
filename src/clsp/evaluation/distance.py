"""How far a set of images lies from another, as an encoder sees it."""

from __future__ import annotations

from torch import Tensor


def kid(first: Tensor, second: Tensor) -> float:
    """Return the kernel distance of two sets of features (Binkowski et al., arXiv 1801.01401, section 4).

    The unbiased squared maximum mean discrepancy with the kernel (x . y / D + 1)^3: about 0 for two samples of the same
    images, and a little below where chance has it.

    Args:
        first: features, float [N, D], N at least 2.
        second: likewise, float [M, D].
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1.0) ** 3

    def within(a: Tensor) -> Tensor:
        own = kernel(a, a)
        return (own.sum() - own.diagonal().sum()) / (len(a) * (len(a) - 1))

    first, second = first.double(), second.double()
    return float(within(first) + within(second) - 2.0 * kernel(first, second).mean())
