"""An image of the anchor's label: what candidates would bring that always keep the class. It sees labels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from clsp.errors import UserError
from clsp.positives.lists import OneOf
from clsp.positives.source import Draw, Material, Source
from clsp.settings import settings


@settings
class SameClass(Source):
    """An image of the anchor's label; an image without a label draws itself."""

    needs_labels: ClassVar[bool] = True

    def build(self, material: Material, *, seed: int, device: torch.device) -> Draw:
        """Return what draws from the images of a class."""
        labels = material.labels
        if labels is None:
            raise UserError("positives 'class' need labels, and this source has none")
        _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        flat = np.concatenate((np.argsort(class_of, kind="stable"), np.arange(len(labels))))
        firsts = np.where(labels >= 0, (np.cumsum(sizes) - sizes)[class_of], len(labels) + np.arange(len(labels)))
        counts = np.where(labels >= 0, sizes[class_of], 1)
        lists = (torch.from_numpy(part).to(device) for part in (flat, firsts, counts))
        return OneOf(material.pixels, *lists, seed=seed)
