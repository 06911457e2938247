"""How well images and captions find each other, and classes by their names alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clsp.evaluation.measure import Measure

_AT = (1, 5, 10)


def ranks(similar: Tensor, groups: np.ndarray) -> np.ndarray:
    """How many others each row finds more alike than its own: int64 [N].

    Args:
        similar: of queries and what they search, float [N, N]; the own ones stand on the diagonal.
        groups: what is the same, int64 [N]: equal captions are each as good as the own one.
    """
    same = torch.from_numpy(groups[:, None] == groups[None])
    own = similar.masked_fill(~same, -torch.inf).max(dim=1, keepdim=True).values
    return (similar.masked_fill(same, -torch.inf) > own).sum(dim=1).numpy()


def recalls(images: Tensor, texts: Tensor, captions: list[str], *, protocol: str) -> list[Measure]:
    """Recall at 1, 5 and 10 both ways, of unit embeddings float [N, D].

    Args:
        images: of images.
        texts: of their captions.
        captions: the captions themselves; equal ones count as one.
        protocol: which pairs.
    """
    groups = np.unique(captions, return_inverse=True)[1]
    found = []
    for name, title, way in (
        ("image_to_text", "image to text", images @ texts.T),
        ("text_to_image", "text to image", texts @ images.T),
    ):
        place = ranks(way, groups)
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
