"""How well images and captions find each other, and classes by their names alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clsp.evaluation.measure import Measure

_AT = (1, 5, 10)


_ROWS = 4_000_000
"""Similarities that are held at once."""


def ranks(queries: Tensor, others: Tensor, groups: np.ndarray) -> np.ndarray:
    """How many others each query finds at least as alike as its own: int64 [N].

    What is exactly as alike counts as better: an encoder that tells nothing apart finds nothing.

    Args:
        queries: unit embeddings, float [N, D].
        others: of what is searched, float [N, D]; a query's own one stands in its row.
        groups: what is the same, int64 [N]: equal captions are each as good as the own one.
    """
    found, kinds = np.empty(len(queries), np.int64), torch.from_numpy(groups)
    rows = max(_ROWS // len(queries), 1)
    for first in range(0, len(queries), rows):
        some = slice(first, first + rows)
        similar, same = queries[some] @ others.T, kinds[some, None] == kinds[None]
        own = similar.masked_fill(~same, -torch.inf).max(dim=1, keepdim=True).values
        found[some] = (similar.masked_fill(same, -torch.inf) >= own).sum(dim=1).numpy()
    return found


def recalls(images: Tensor, texts: Tensor, captions: list[str], *, protocol: str) -> list[Measure]:
    """Recall at 1, 5 and 10 both ways, of unit embeddings float [N, D].

    Args:
        images: of images.
        texts: of their captions.
        captions: the captions themselves; equal ones count as one.
        protocol: which pairs.
    """
    known = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    groups = np.array([known[caption] for caption in captions])
    found = []
    for name, title, way in (
        ("image_to_text", "image to text", (images, texts)),
        ("text_to_image", "text to image", (texts, images)),
    ):
        place = ranks(*way, groups)
        values = {f"recall@{k}": round(100 * float((place < k).mean()), 2) for k in _AT}
        first, *others = values
        found.append(
            Measure(
                name=name,
                title=title,
                quantity="recall@1",
                metric="recall",
                value=values[first],
                protocol=protocol,
                details={key: values[key] for key in others},
                each=place < 1,
            )
        )
    return found
