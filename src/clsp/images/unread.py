"""Images of which the files' headers alone were read: number and shape, for a plan of what to do with them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from clsp.images.imageset import Images, Split
from clsp.images.plan import Part, Plan

UNREAD = Path(os.devnull)
"""The store of images that are not to be decoded."""


def unread(plan: Plan) -> Images:
    """Return the images of a plan without their content: one black pixel stands for all, labels are 0."""
    parts = {name: _split(part, plan) for name, part in plan.parts.items()}
    return Images(
        source=plan.source,
        train=parts["train"],
        test=parts.get("test"),
        classes=plan.classes,
        excluded=plan.excluded,
        notes=plan.notes,
    )


def _split(part: Part, plan: Plan) -> Split:
    count = len(part.names)
    pixels = np.broadcast_to(np.uint8(0), (count, plan.channels, plan.size, plan.size))
    labels = np.zeros(count, np.int64) if part.labelled else None
    return Split(images=pixels, names=part.names, labels=labels, columns=part.columns)
