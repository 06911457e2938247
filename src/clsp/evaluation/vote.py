"""Weighted k-nearest-neighbour classification by cosine similarity."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from clsp.engine.neighbours import nearest


def vote(similarities: Tensor, labels: Tensor, classes: int, *, k: int, temperature: float) -> Tensor:
    """Let the k nearest vote, each with weight exp(similarity / temperature) (Wu et al., arXiv 1805.01978).

    Args:
        similarities: float [Q, K], falling, K >= k.
        labels: the neighbours' labels, int64 [Q, K].
        classes: number of classes.
        k: neighbours that vote.
        temperature: > 0.

    Returns:
        Scores float [Q, classes].
    """
    # Relative to the nearest: the same vote, and no overflow at low temperatures.
    weights = ((similarities[:, :k] - similarities[:, :1]) / temperature).exp()
    scores = similarities.new_zeros(len(similarities), classes)
    return scores.scatter_add_(1, labels[:, :k], weights)


def choose(
    features: Tensor,
    labels: Tensor,
    classes: int,
    held: Tensor,
    ks: Sequence[int],
    temperatures: Sequence[float],
) -> tuple[int, float]:
    """Choose k and temperature by the accuracy on the rows ``held`` (bool [N]) against the others."""
    references, own = features[~held], labels[~held]
    allowed = sorted({min(k, len(references)) for k in ks})
    similarities, indices = nearest(features[held], references, allowed[-1])

    def accuracy(setting: tuple[int, float]) -> float:
        scores = vote(similarities, own[indices], classes, k=setting[0], temperature=setting[1])
        return float((scores.argmax(dim=1) == labels[held]).float().mean())

    return max(((k, t) for k in allowed for t in temperatures), key=accuracy)
